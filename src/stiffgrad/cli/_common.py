"""What commands share: bad input as one line with exit code 2, and tables on the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

import typer
from rich.console import Console
from rich.table import Table

from stiffgrad._types import SolveError

BAD_INPUT = 2
INTERRUPTED = 130  # as a shell reports Ctrl-C


@contextlib.contextmanager
def one_line_errors(stopped: str = "what is finished is saved, and the same command continues") -> Iterator[None]:
    """Turn errors of arguments into one line on stderr and exit code 2, and Ctrl-C into a line and code 130.

    `stopped` says what that leaves. A lack of memory is an error of arguments too.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, MemoryError, SolveError) as error:
        typer.echo(f"stiffgrad: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        typer.echo(f"stiffgrad: stopped; {stopped}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table; columns named in `right` are aligned to the right."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width: never cut a line there
        console = Console(width=200)
    console.print(table)
