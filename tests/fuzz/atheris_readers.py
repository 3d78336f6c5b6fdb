"""Coverage-guided fuzzing of what reads a file: model, checkpoint, solution, cell (a result), or table (CSV).

    python tests/fuzz/atheris_readers.py model --seconds 300 --seed 1

Needs `pip install atheris`, which has wheels for Linux; `make fuzz` runs all five where it is installed, `nox -s fuzz`
installs it. Files of ours are zips with checksums, which blind changes never pass: those of a good file's JSON text or
of an array are packed again with their checksums, so that the code behind them is reached. A reader returns something
that prints, or raises a ValueError or TypeError that names the file; anything else ends the run with its traceback.
"""

import argparse
import io
import json
import os
import pathlib
import random
import sys
import tempfile
import zipfile

import atheris

MODULES = ["_archive", "_checks", "run.checkpoint", "run.saving", "run.trace", "report._cells"]
MODULES += ["estimators._files", "estimators._table", "estimators._csv"]
LARGEST = 2**16  # bytes of a file
MEMORY = 6000  # MB


# ruff: noqa: E402  # what is not to be instrumented comes first
os.environ["JAX_ENABLE_X64"] = "1"
import jax  # noqa: F401
import numpy as np
import pandas as pd
import sklearn.preprocessing  # noqa: F401

with atheris.instrument_imports(include=[f"stiffgrad.{name}" for name in MODULES]):
    import stiffgrad as sg
    from stiffgrad import report
    from stiffgrad.estimators import FlowClassifier, TableModel, _csv, _files
    from stiffgrad.estimators._table import Columns, infer_task
    from stiffgrad.laboratory.cells import Cell, Method, failed_cell
    from stiffgrad.run import checkpoint

FRAME = pd.DataFrame({"a": np.linspace(-1, 1, 12), "c": ["x", "y", "z"] * 4, "d": ["2024-12-31", "2025-01-02"] * 6})


def bowl():
    return sg.minimise(lambda w: (w**2).sum(), np.ones(2))


def made(kind: str, folder: pathlib.Path) -> list[bytes]:
    """Good files of a kind."""
    if kind == "table":
        exact = "a;b;c\n1,5;x;31/12/2024\n2,5;?;01.01.2024\n'3;y;1 000\n"
        return [FRAME.to_csv(index=False).encode(), exact.encode(), b"a\tb\n1\t$5\n2\t$6\n"]
    if kind == "cell":
        return [json.dumps(failed_cell(Cell("xor", Method.of("vode"), 0, 4.0), "x", 0.1)).encode()]
    if kind == "model":
        targets = {"y": FRAME["a"] ** 2 + 0.3 * FRAME["a"], "z": np.repeat(["no", "yes"], 6)}
        for name, target in targets.items():
            TableModel.fit(FRAME.assign(**{name: target}), name).save(folder / name)
        return [(folder / name).read_bytes() for name in targets]
    path = folder / "run"
    solution = sg.solve(bowl(), "adam", until=sg.Until(steps=3), checkpoint=path)
    if kind == "solution":
        solution.save(path)
    return [path.read_bytes()]


def _table(path: pathlib.Path) -> None:
    frame, _ = _csv.read(path)
    columns, _ = Columns.of(frame)
    assert np.all(np.isfinite(columns.encode(frame)))
    infer_task(frame.iloc[:, 0].dropna())


def _model(path: pathlib.Path) -> None:
    model = TableModel.load(path)
    frame = pd.DataFrame({name: FRAME.get(name, FRAME["a"]) for name in model.columns.names})
    try:
        model.predict(frame)
    except ValueError as error:  # columns of other names or kinds than those of this table
        if "column" not in str(error):
            raise AssertionError(f"predict: {error}") from error
    if isinstance(model.estimator, FlowClassifier):
        assert len(model.estimator.classes_) > 0


def _solution(path: pathlib.Path) -> None:
    solution = sg.load(path)
    str(solution), repr(solution.statistics), solution.trace.to_pandas()
    assert solution.outcome.advice


def _checkpoint(path: pathlib.Path) -> None:
    keeper = checkpoint.Keeper(path, OBJECTIVE, sg.solvers.create("adam"))
    assert keeper.saved.w.shape == (2,)
    sg.run.driver.TraceBuilder.restored(keeper.saved.trace).build().to_pandas()


def _cell(path: pathlib.Path) -> None:
    report.read(path.parent)


READERS = {"model": _model, "checkpoint": _checkpoint, "solution": _solution, "cell": _cell, "table": _table}
TEXTS = {"model": _files.TEXT, "checkpoint": "settings.json", "solution": "settings.json"}


def packed(kind: str, text: bytes, arrays: dict[str, bytes]) -> bytes:
    """A zip of these entries; that of a checkpoint with the checksum that it then must have."""
    if kind == "checkpoint":
        try:
            settings = json.loads(text)
            loaded = {name.removesuffix(".npy"): np.load(io.BytesIO(entry)) for name, entry in arrays.items()}
            settings["checksum"] = checkpoint._checksum(settings, loaded)
            text = json.dumps(settings).encode()
        except Exception:  # not even that: the reader sees it as it is
            pass
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(TEXTS[kind], text)
        for name, entry in arrays.items():
            archive.writestr(name, entry)
    return file.getvalue()


VALUES = [None, True, False, 0, 1, -1, 2, 1.5, 1e308, -1e-308, 2**63, 10**30, "", "x", "nan", "__class__", [], {}, [[]]]
VALUES += [float("inf"), float("nan"), ["a"], [1, 2], {"list": [0]}, {"dict": [["a", 0]]}, "0" * 500, "=1+1", "\ud800"]


def changed(node, choose: random.Random):
    """The same JSON with one thing in it replaced, removed, doubled or renamed."""
    if isinstance(node, dict | list) and node and choose.random() < 0.85:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key, new = choose.choice(keys), dict(node) if isinstance(node, dict) else list(node)
        what = choose.random()
        if what < 0.7:
            new[key] = changed(node[key], choose)
        elif what < 0.8:
            del new[key]
        elif isinstance(new, dict):
            new[choose.choice([f"{key}x", "", "w", "0", *node])] = node[key]
        else:
            new.insert(key, choose.choice(node))
        return new
    if isinstance(node, int | float) and not isinstance(node, bool) and choose.random() < 0.4:
        return choose.choice([node + 1, node - 1, -node, node * 1000, node / 2, float(node)])
    return choose.choice(VALUES)


def mutator(kind: str):
    """Changes of a file's bytes, of its JSON, or of an entry of its zip."""

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        choose = random.Random(seed)
        if kind == "table" or choose.random() < 0.1:
            return atheris.Mutate(data, most)
        try:
            if kind == "cell":
                return json.dumps(changed(json.loads(data), choose)).encode()[:most]
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                entries = {name: archive.read(name) for name in archive.namelist()}
            text = entries.pop(TEXTS[kind])
            if choose.random() < 0.75:
                text = json.dumps(changed(json.loads(text), choose)).encode()
            elif entries:
                name = choose.choice(list(entries))
                entries[name] = atheris.Mutate(entries[name], len(entries[name]) + 64)
            new = packed(kind, text, entries)
            return new if len(new) <= most else data
        except Exception:  # no longer a zip or JSON
            return atheris.Mutate(data, most)

    return mutate


def fuzz(kind: str, seconds: int, seed: int) -> None:
    """Run one reader until the time is over, or it raises what it must not: then atheris ends this process."""
    global OBJECTIVE
    folder = pathlib.Path(tempfile.mkdtemp())
    for name in ("good", "read"):
        (folder / name).mkdir()
    OBJECTIVE = bowl()
    identity = checkpoint.identity(OBJECTIVE, sg.solvers.create("adam"))
    checkpoint.identity = lambda objective, solver: identity  # which traces the objective each time
    for number, whole in enumerate(made(kind, folder / "read")):
        (folder / "good" / str(number)).write_bytes(whole)
    path = folder / "read" / f"file{'.json' if kind == 'cell' else ''}"
    read = READERS[kind]

    def once(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read(path)
        except (ValueError, TypeError) as error:
            words = str(error)
            if len(words) < 10 or (kind not in ("table", "cell") and str(path) not in words):
                raise

    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LARGEST}", f"-rss_limit_mb={MEMORY}"]
    options += ["-timeout=20", "-len_control=0", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(folder / "good")], once, custom_mutator=mutator(kind))
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", choices=list(READERS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fuzz(options.reader, options.seconds, options.seed)


if __name__ == "__main__":
    main()
