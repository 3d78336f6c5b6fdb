"""`stiffgrad study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stiffgrad.cli._common import one_line_errors


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(study)


def study(
    out: Annotated[Path, typer.Option(help="Folder of the results and of the page.")] = Path("study"),
    quick: Annotated[bool, typer.Option("--quick", help="One problem, one start: to see that it works.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the answers as Markdown to this file too.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Answer this question alone; any number of times.")] = None,
) -> None:
    """Answer by experiment why a stiff solver was slower. Resumes; writes study.html and findings.json."""
    with one_line_errors():
        from stiffgrad.laboratory.study import KEYS, run
        from stiffgrad.report import study as pages
        from stiffgrad.report.comparison import save

        findings = run(out, quick=quick, only=tuple(only or ()), say=lambda words: typer.echo(words, err=True))
        page = pages.write(out)
        if markdown is not None:
            save(pages.markdown(findings), markdown)
    for key in KEYS:
        if key in findings:
            typer.echo(f"{key}: {findings[key]['answer']}\n")
    typer.echo(f"{findings['computed']} results were computed, the others were there")
    typer.echo(page)
