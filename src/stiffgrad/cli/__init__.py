"""The command line: argument parsing only. Each module here adds its commands with `register(app)`."""

from __future__ import annotations

import importlib
import pkgutil

import typer

app = typer.Typer(
    name="stiffgrad",
    help="Train neural networks by solving stiff ODEs, with no learning rate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _register_all() -> None:
    """Every module of this package whose name has no leading underscore, in alphabetical order."""
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            importlib.import_module(f"{__name__}.{module}").register(app)


_register_all()
