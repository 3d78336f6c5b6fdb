"""`stiffgrad study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stiffgrad import _archive
from stiffgrad.cli._common import one_line_errors


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(study)


def study(
    out: Annotated[Path, typer.Option(help="Folder of the results and of the page.")] = Path("study"),
    scale: Annotated[
        str,
        typer.Option(
            help="full (hours), long (an hour), medium (half an hour), short (ten minutes) or quick (a minute)."
        ),
    ] = "full",
    quick: Annotated[bool, typer.Option("--quick", help="The same as --scale quick: to see that it works.")] = False,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the answers as Markdown too; figures go beside it.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, whose workers run the networks.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Answer this question alone; any number of times.")] = None,
) -> None:
    """Answer by experiment why a stiff solver was slower. Resumes; writes study.html and findings.json."""
    with one_line_errors():
        from stiffgrad.laboratory.study import KEYS, TITLES, run
        from stiffgrad.report import study as pages

        if markdown is not None:
            _archive.target(markdown, "markdown")
        chosen = "quick" if quick else scale
        findings = run(
            out, scale=chosen, only=tuple(only or ()), say=lambda words: typer.echo(words, err=True), dask=dask
        )
        page = pages.write(out)
        if markdown is not None:
            pages.write_markdown(findings, markdown)
    for key in KEYS:
        if key in findings:
            typer.echo(f"{TITLES[key]}: {findings[key]['verdict']}. {' '.join(findings[key]['sentences'])}\n")
    typer.echo(f"{findings['computed']} results were computed, the others were there")
    typer.echo(page)
