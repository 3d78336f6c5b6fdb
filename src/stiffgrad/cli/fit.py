"""`stiffgrad fit` and `stiffgrad predict`: a network from a CSV file, with nothing to set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stiffgrad import _archive
from stiffgrad.cli._common import one_line_errors

if TYPE_CHECKING:
    from stiffgrad.estimators import TableModel


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(fit)
    app.command()(predict)


def fit(
    data: Annotated[Path, typer.Argument(help="CSV file with a header line.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    out: Annotated[Path, typer.Option(help="Model file to write.")],
    task: Annotated[str | None, typer.Option(help="regression or classification; by default inferred.")] = None,
    seed: Annotated[int, typer.Option(help="Of the start and of the held-out part.")] = 0,
    delimiter: Annotated[str | None, typer.Option(help="Between columns; by default recognised.")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign . or , of numbers; by default recognised.")] = None,
) -> None:
    """Fit a network to a table; text columns become one-hot, missing values are filled."""
    with one_line_errors("nothing was written"):
        place = _place(out, data)
        from stiffgrad.estimators import TableModel, _csv

        frame, notes = _csv.read(data, delimiter)
        model = TableModel.fit(frame, target, task, seed, decimal)
        model.save(place)
        for note in [*notes, *model.notes]:
            typer.echo(note)
    with one_line_errors(f"{out} is written, its minimum was not looked at"):
        _report(model, len(frame))
        typer.echo(f"written: {out}")


def _place(out: Path, *inputs: Path) -> Path:
    """Where to write, checked before any work; never over what is read."""
    for given in inputs:
        if out.exists() and given.exists() and out.samefile(given):
            raise ValueError(f"out={str(out)!r} is the file that is read: give another path")
    return _archive.target(out, "out")


def _report(model: TableModel, rows: int) -> None:
    estimator, columns = model.estimator, model.columns
    text = f"{len(columns.medians)} numeric and {len(columns.categories)} text columns"
    typer.echo(f"{model.task} of {model.target!r}: {rows} rows, {text}, {estimator.n_features_in_} inputs")
    if columns.left_out:
        typer.echo(f"left out (empty, or free text): {', '.join(columns.left_out)}")
    name = "R2" if model.task == "regression" else "accuracy"
    typer.echo(f"held-out {name}: {model.score:.4f} (20% of the rows; the model in the file is fitted to all)")
    if estimator.log_evidence_ is not None:
        typer.echo(f"log evidence: {estimator.log_evidence_:.2f} nats")
    typer.echo("where the weights come to rest with these decays:")
    typer.echo(f"{estimator.minimum_}")


def predict(
    model: Annotated[Path, typer.Argument(help="Model file, from `stiffgrad fit`.")],
    data: Annotated[Path, typer.Argument(help="CSV file with the columns that the model was fitted to.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    delimiter: Annotated[str | None, typer.Option(help="Between columns; by default recognised.")] = None,
) -> None:
    """Predict every row of a table, with standard deviations or probabilities."""
    with one_line_errors("nothing was written"):
        place = _place(out, model, data)
        from stiffgrad.estimators import TableModel, _csv

        loaded = TableModel.load(model)
        predictions = loaded.predict(_csv.read(data, delimiter)[0])
        _csv.write(predictions, place)
        typer.echo(f"written: {out} ({len(predictions)} rows)")
