"""The command line: argument parsing only. Each module here adds its commands with `register(app)`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import typer

app = typer.Typer(
    name="stiffgrad",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"stiffgrad {importlib.import_module('stiffgrad').__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Train neural networks by solving stiff ODEs, with no learning rate."""


def _register_all() -> None:
    """Every module of this package whose name has no leading underscore, in alphabetical order."""
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            importlib.import_module(f"{__name__}.{module}").register(app)


_register_all()
