"""Command lines as users get them wrong: exit code 2 and one line that names what is wrong, before any long work."""

import json
import pathlib

import pytest
from typer.testing import CliRunner

from stiffgrad.cli import app

GOOD = "a,b,y\n" + "".join(f"{i},{i * i % 7},{i / 3}\n" for i in range(20))
TABLES = {
    "good.csv": GOOD,
    "empty.csv": "",
    "header.csv": "a,b,y\n",
    "longer.csv": "a,y\n1,2\n1,2,3\n",
    "twice.csv": "a,a,y\n1,2,3\n" * 9,
    "text.csv": "a,b\n" + "x,y\n" * 9,
    "numbers.csv": "1,2,3\n" * 9,
    "few.csv": "a,y\n1,2\n2,3\n",
    "huge.csv": "a,y\n" + "1e200,1.9e308\n" * 9,
    "infinite.csv": "a,y\n" + "inf,1\n" * 9,
    "words.csv": "a,y\n" + "".join(f"{i}.5,{i}\n" for i in range(20)) + "about 7,3\n",
    "units.csv": "a,y\n" + "".join(f"{i} kg,{i}\n" for i in range(20)),
    "dates.csv": "a,y\n" + "".join(f"0{i % 9 + 1}/0{i % 8 + 1}/2024,{i}\n" for i in range(20)),
    "thousands.csv": "a;y\n" + "".join(f"{i},{100 + i};{i}\n" for i in range(1, 20)),
    "unclear.csv": "a,b;c,y\n" + "1,2;3,4\n" * 9,
    "binary.csv": "a,b\x00\x01\x02,\xff",
    "broken.py": "objective = 1 / 0\n",
    "empty.py": "",
    "number.py": "objective = 3\n",
    "good.py": "import numpy as np, stiffgrad as sg\nbowl = sg.minimise(lambda w: (w**2).sum(), np.ones(2))\n",
    "model": "no model",
    "cells/a.json": "{",
    "cells/b.json": "[" * 5000,
    "cells/c.json": json.dumps({"problem": 3}),
}

CASES = {
    "no such command": ("trian", "trian"),
    "an option that nobody knows": ("solvers --all", "--all"),
    "fit nothing": ("fit", "data"),
    "fit without a target": ("fit good.csv --out m", "target"),
    "fit without out": ("fit good.csv --target y", "out"),
    "fit no file": ("fit none.csv --target y --out m", "none.csv"),
    "fit a folder": ("fit . --target y --out m", "no file"),
    "fit an empty file": ("fit empty.csv --target y --out m", "empty"),
    "fit a header": ("fit header.csv --target y --out m", "rows"),
    "fit longer rows": ("fit longer.csv --target y --out m", "row 3"),
    "fit a column twice": ("fit twice.csv --target y --out m", "twice"),
    "fit no column": ("fit good.csv --target z --out m", "target='z'"),
    "fit numbers without a header": ("fit numbers.csv --target 3 --out m", "header"),
    "fit two rows": ("fit few.csv --target y --out m", "rows"),
    "fit free text": ("fit text.csv --target b --out m --task regression", "text"),
    "fit huge numbers": ("fit huge.csv --target y --out m", "overflow"),
    "fit infinity": ("fit infinite.csv --target y --out m", "infinity"),
    "fit a word among numbers": ("fit words.csv --target y --out m", "about 7"),
    "fit units": ("fit units.csv --target y --out m", "kg"),
    "fit dates of two meanings": ("fit dates.csv --target y --out m", "2024-12-31"),
    "fit unclear thousands": ("fit thousands.csv --target y --out m", "decimal"),
    "fit unclear columns": ("fit unclear.csv --target y --out m", "delimiter"),
    "fit bytes": ("fit binary.csv --target y --out m", "binary.csv"),
    "fit an unknown task": ("fit good.csv --target y --out m --task guess", "task='guess'"),
    "fit numbers as classes": ("fit good.csv --target y --out m --task classification", "classes"),
    "fit a seed of text": ("fit good.csv --target y --out m --seed a", "seed"),
    "fit a negative seed": ("fit good.csv --target y --out m --seed -1", "seed"),
    "fit a delimiter": ("fit good.csv --target y --out m --delimiter x", "delimiter='x'"),
    "fit a decimal sign": ("fit good.csv --target y --out m --decimal x", "decimal='x'"),
    "fit over the data": ("fit good.csv --target y --out good.csv", "read"),
    "fit to a folder": ("fit good.csv --target y --out .", "folder"),
    "fit to a device": ("fit good.csv --target y --out /dev/null", "device"),
    "fit to no folder": ("fit good.csv --target y --out none/m", "folder"),
    "predict nothing": ("predict", "model"),
    "predict by no model": ("predict none good.csv --out p.csv", "none"),
    "predict by text": ("predict model good.csv --out p.csv", "damaged"),
    "predict by a table": ("predict good.csv good.csv --out p.csv", "good.csv"),
    "predict no table": ("predict model none.csv --out p.csv", "model"),
    "predict over the model": ("predict model good.csv --out model", "read"),
    "predict over the data": ("predict model good.csv --out good.csv", "read"),
    "predict to a device": ("predict model good.csv --out /dev/null", "device"),
    "compare nothing": ("compare", "solver"),
    "compare without solvers": ("compare --problem sine --out c", "solver"),
    "compare without problems": ("compare --solver adam --out c", "problem"),
    "compare without out": ("compare --problem sine --solver adam", "out"),
    "compare on no problem": ("compare --problem sin --solver adam --out c", "sine"),
    "compare no solver": ("compare --problem sine --solver adamm --out c", "adam"),
    "compare no seeds": ("compare --problem sine --solver adam --out c --seeds 0", "seeds"),
    "compare seeds of text": ("compare --problem sine --solver adam --out c --seeds five", "seeds"),
    "compare no seconds": ("compare --problem sine --solver adam --out c --seconds 0", "seconds"),
    "compare negative seconds": ("compare --problem sine --solver adam --out c --seconds -1", "seconds"),
    "compare NaN seconds": ("compare --problem sine --solver adam --out c --seconds nan", "seconds"),
    "compare no jobs": ("compare --problem sine --solver adam --out c --jobs 0", "jobs"),
    "compare no target": ("compare --problem sine --solver adam --out c --target far", "target"),
    "compare in a file": ("compare --problem sine --solver adam --out good.csv", "out"),
    "compare on no cluster": ("compare --problem sine --solver adam --out c --dask nowhere", "dask"),
    "compare no file": ("compare none.py:a --solver adam --out c", "none.py"),
    "compare a file of nothing": ("compare empty.py:bowl --solver adam --out c", "bowl"),
    "compare a file without a name": ("compare good.py --solver adam --out c", "good.py"),
    "compare a number": ("compare number.py:objective --solver adam --out c", "int"),
    "compare a file and a problem": ("compare good.py:bowl --problem sine --solver adam --out c", "problem"),
    "compare a file and jobs": ("compare good.py:bowl --solver adam --out c --jobs 2", "jobs"),
    "compare a file to two targets": (
        "compare good.py:bowl --solver adam --out c --loss 1 --gradient-norm 1",
        "one of them",
    ),
    "compare a file and no number": ("compare good.py:bowl --solver adam --out c --loss small", "--loss"),
    "compare a file to NaN": ("compare good.py:bowl --solver adam --out c --loss nan", "loss"),
    "report nothing": ("report", "folder"),
    "report no folder": ("report none", "none"),
    "report a file": ("report good.csv", "good.csv"),
    "report an empty folder": ("report .", "no results"),
    "report damaged results": ("report cells", "3 JSON files"),
    "bench no suite": ("bench --suite hard --out b", "hard"),
    "bench no problem": ("bench --suite dense --problem sin --out b", "sin"),
    "bench no solver": ("bench --suite dense --solver adamm --out b", "adamm"),
    "bench no seeds": ("bench --suite dense --seeds 0 --out b", "seeds"),
    "bench no seconds": ("bench --suite dense --seconds 0 --out b", "seconds"),
    "bench no jobs": ("bench --suite dense --jobs 0 --out b", "jobs"),
    "bench in a file": ("bench --suite dense --out good.csv", "good.csv"),
    "bench on no cluster": ("bench --suite dense --out b --dask nowhere", "dask"),
    "bench the floor of nothing": ("bench --floor --problem sin", "sin"),
    "bench the floor in no time": ("bench --floor --seconds 0", "seconds"),
    "bench first calls of nothing": ("bench --suite first-call --problem sin --out b", "sin"),
    "bench first calls in a file": ("bench --suite first-call --out good.csv", "good.csv"),
    "bench no first calls": ("bench --suite first-call --seeds 0 --out b", "seeds|repeats"),
    "study no scale": ("study --scale tiny --out s", "tiny"),
    "study no question": ("study --quick --only why --out s", "why"),
    "study in a file": ("study --quick --out good.csv", "good.csv"),
    "study on no cluster": ("study --quick --out s --dask nowhere", "dask"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "cells").mkdir()
    for name, text in TABLES.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", CASES)
def test_a_bad_command_is_refused_in_a_line(name, folder):
    words, named = CASES[name]
    before = files(folder)
    result = CliRunner().invoke(app, words.split())
    shown = result.output
    assert result.exit_code == 2, (shown, result.exception)
    assert any(word in shown for word in named.split("|")), shown
    assert "Traceback" not in shown
    assert files(folder) == before  # nothing was written, and nothing lost
    assert pathlib.Path("good.csv").read_text() == GOOD
