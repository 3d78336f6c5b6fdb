"""`stiffgrad fit` and `stiffgrad predict`: a network from a CSV file, with nothing to set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stiffgrad.cli._common import one_line_errors

if TYPE_CHECKING:
    import pandas as pd

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
) -> None:
    """Fit a network to a table; text columns become one-hot, missing values are filled."""
    from stiffgrad.estimators import TableModel

    with one_line_errors():
        frame = _read(data)
        if not out.parent.is_dir():
            raise FileNotFoundError(f"folder {out.parent} of --out does not exist")
        model = TableModel.fit(frame, target, task, seed)
        model.save(out)
        _report(model, len(frame), out)


def _report(model: TableModel, rows: int, out: Path) -> None:
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
    typer.echo(f"written: {out}")


def predict(
    model: Annotated[Path, typer.Argument(help="Model file, from `stiffgrad fit`.")],
    data: Annotated[Path, typer.Argument(help="CSV file with the columns that the model was fitted to.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
) -> None:
    """Predict every row of a table, with standard deviations or probabilities."""
    from stiffgrad.estimators import TableModel

    with one_line_errors():
        predictions = TableModel.load(model).predict(_read(data))
        predictions.to_csv(out, index=False)
        typer.echo(f"written: {out} ({len(predictions)} rows)")


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"data file {path} does not exist")
    try:
        return pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file with a header line: {error}") from None
