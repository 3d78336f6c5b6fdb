"""The study: one run that resumes, and answers that follow the data, whatever they say."""

import dataclasses
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from stiffgrad.cli import app
from stiffgrad.laboratory import cells, study
from stiffgrad.laboratory.cells import Cell, Method, failed_cell
from stiffgrad.laboratory.problems import Target
from stiffgrad.laboratory.statistics import AT_LEAST, NEVER, Amount
from stiffgrad.laboratory.store import Store
from stiffgrad.laboratory.study import (
    _lab,
    bands,
    integrators,
    jacobians,
    minima,
    original,
    owens_filkin,
    paths,
    saddle,
    tolerance,
)
from stiffgrad.laboratory.study._lab import ERRORS, ORIGINAL, SHARES, Lab, Result, Scale, level
from stiffgrad.laboratory.study._networks import EXACT, NETWORKS, loss_at, weights
from stiffgrad.report.study import markdown, write, write_markdown

SMALL = Scale(
    problems=("iris",), exact=("xor",), paths=("iris",), grid=("iris",), larger=(), seeds=1, exact_seeds=1,
    patience=0.1, waiting=0.05, descent=("sgd",),
)  # fmt: skip
ASKED = ("original", "above_80_percent", "jacobian", "owens_filkin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    study.run(out, scale=SMALL, only=ASKED)
    return out


def test_every_question_has_a_verdict_three_sentences_and_a_figure(folder: Path) -> None:
    findings = json.loads((folder / "findings.json").read_text())
    for key in ASKED:
        entry = findings[key]
        assert "?" in entry["question"]
        assert entry["verdict"]
        assert len(entry["sentences"]) == 3
        assert all(sentence.endswith(".") for sentence in entry["sentences"])
        assert re.search(r"\d", " ".join(entry["sentences"]))
        assert entry["tables"][0]["rows"]
        assert {len(row) for t in entry["tables"] for row in t["rows"]} == {
            1 + len(t["columns"]) for t in entry["tables"]
        }
    assert len(findings["environment"]["code"]) == 12


def test_a_second_run_does_no_work_and_the_page_is_one_file(folder: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    assert study.run(folder, scale=SMALL, only=ASKED)["computed"] == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()} == before
    html = write(folder).read_text()
    assert "<script" not in html
    assert not re.search(r'(src|href)="http', html)
    assert html.count("<img") == len(ASKED)
    findings = json.loads((folder / "findings.json").read_text())
    write_markdown(findings, tmp_path / "findings.md")
    text = (tmp_path / "findings.md").read_text()
    assert text == markdown(findings)
    figures = re.findall(r"\]\((findings/\w+\.svg)\)", text)
    assert len(figures) == len(ASKED)
    assert all((tmp_path / figure).exists() for figure in figures)
    assert text.count("<details") == text.count("</details>") == sum(len(findings[key]["tables"]) for key in ASKED)
    assert max(map(len, (line for line in text.splitlines() if line.startswith("- ")))) < 500


def test_other_code_makes_all_runs_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Store(folder / "runs")
    cell = Cell(NETWORKS["iris"].name, Method("vode"), 0, 1.5 * SMALL.patience, Target(gradient_norm=1e-6), _lab.PATH)
    assert kept.read({"kind": "cell", **cell.content}) is not None
    monkeypatch.setattr(cells, "code", lambda: "other code")
    assert kept.read({"kind": "cell", **cell.content}) is None


def test_bad_input_is_one_line_and_code_2(tmp_path: Path) -> None:
    for arguments in (["--only", "nonsense"], ["--scale", "huge"]):
        result = CliRunner().invoke(app, ["study", *arguments, "--out", str(tmp_path)])
        assert result.exit_code == 2
        assert arguments[1] in result.output
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = CliRunner().invoke(app, ["study", "--quick", "--out", str(blocked / "x")])
    assert result.exit_code == 2
    with pytest.raises(ValueError, match=r"findings\.json"):
        write(tmp_path)


def test_the_networks_are_what_they_say() -> None:
    for made in (*NETWORKS.values(), *EXACT.values()):
        objective = made.objective(0)
        assert weights(made) == objective.size
    assert len(EXACT) >= 12
    for name in ("xor", "encoder", "iris", "breast-cancer"):
        made = EXACT[name]
        apply, params = made.network(0)
        train = made.data.train
        z = np.array([np.asarray(apply(params, x)) for x in train.X])
        rms = np.sqrt(np.mean((z - train.y.reshape(z.shape)) ** 2)) / (train.y.max() - train.y.min())
        objective = made.objective(0)
        assert loss_at(made, rms) == pytest.approx(float(objective.value(objective.w0)), rel=1e-12)


# ---- answers follow the data, whatever they say


class Made(Lab):
    """A laboratory whose results are made up: seconds and iterations to 99%, None for a miss."""

    def __init__(self, tmp_path: Path, scale: Scale = SMALL) -> None:
        super().__init__(Store(tmp_path), scale, lambda words: None)

    def add(self, method: Method, seconds: float | None, steps: float | None = None, network: str = "iris") -> None:
        cell = Cell(
            NETWORKS[network].name, method, 0, 10.0, "deep", watched={level(s): Target(loss=0.0) for s in SHARES}
        )
        data = failed_cell(cell, "made up", 10.0)
        for share in SHARES:
            data["targets"][level(share)] |= {
                "wall_seconds": seconds, "steps": steps, "rhs_evaluations": steps, "presentations": steps,
            }  # fmt: skip
        data["statistics"] |= {"steps": 500, "rhs_evaluations": 500, "presentations": 500}
        self._results[cell.problem, method, 0] = Result(data)


@pytest.mark.parametrize(
    ("zvode", "sgd", "verdict"),
    [
        ((5.0, 10.0), (1.0, 100.0), "reproduced"),
        ((5.0, 10.0), (1.0, 8.0), "not reproduced"),
        ((0.5, 10.0), (1.0, 100.0), "not reproduced"),
        ((None, None), (1.0, 100.0), "not reproduced"),
    ],
)
def test_the_verdict_on_the_original_finding(tmp_path: Path, zvode: Any, sgd: Any, verdict: str) -> None:
    lab = Made(tmp_path)
    lab.add(ORIGINAL, *zvode)
    lab.add(Method("sgd"), *sgd)
    found = original.answer(lab)
    assert found.verdict == verdict
    if zvode[0] is None:  # a missed run is a bound in every sentence
        assert "≥ 10 times the seconds" in found.sentences[1]
        assert "≤ 0.2 times zvode's iterations" in found.sentences[0]


@pytest.mark.parametrize(("seconds", "verdict"), [(3.0, "right"), (1.0, "wrong"), (None, "right")])
def test_the_verdict_on_jacobians(tmp_path: Path, seconds: float | None, verdict: str) -> None:
    lab = Made(tmp_path)
    for kind, method in jacobians.METHODS.items():
        lab.add(method, seconds if kind == "finite-difference" else 1.0, 10.0)
    found = jacobians.answer(lab)
    assert found.verdict == verdict
    assert ("≥" in found.sentences[0]) == (seconds is None)


@pytest.mark.parametrize(
    ("slow", "verdict", "effect"),
    [(0.5, "right", "hurt at 1e-4 (2, from 2)"), (1.0, "partly", "make no clear difference at 1e-8/1e-6 (1, from 1)")],
)
def test_the_verdict_on_tolerances(tmp_path: Path, slow: float, verdict: str, effect: str) -> None:
    # Order 5 takes 1.5 times the presentations of order 2; it hurts where it takes more seconds, too.
    lab = Made(tmp_path)
    for name in tolerance.TOLERANCES:
        for order in tolerance.ORDERS:
            seconds = 4.0 if name == "1e-8/1e-6" else 1.0 if order == 5 else slow
            lab.add(tolerance.method("vode", name, order), seconds, 30.0 if order == 5 else 20.0)
    for solver in ("zvode", "lsoda", "cvode"):
        for name in ("1e-8/1e-6", "1e-4"):
            lab.add(tolerance.method(solver, name, 5), 4.0 if name == "1e-8/1e-6" else 1.0, 30.0)
    found = tolerance.answer(lab)
    assert found.verdict == verdict
    assert "Strict tolerances take 4 times the seconds of 1e-4" in found.sentences[0]
    assert effect in found.sentences[1]


def test_a_run_at_rest_above_a_target_would_never_reach_it(tmp_path: Path) -> None:
    lab = Made(tmp_path)
    lab.add(Method("vode"), None, 10.0)
    (result,) = lab.results(NETWORKS["iris"].name, Method("vode"))
    assert result.cost("99%") == Amount(10.0, AT_LEAST)  # the budget ended it
    rested = Result({**result.data, "outcome": "TARGET"})
    assert rested.cost("99%") == rested.cost("99%", "steps") == NEVER


def test_the_flow_is_not_praised_for_following_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Made(tmp_path)
    for method in (minima.FLOW, Method("vode"), Method("lbfgs")):
        lab.add(method, 1.0, 10.0)
    verdict = {"kind": "minimum", "loss": 0.0, "gradient_norm": 0.0, "eigenvalue_min": 1.0, "eigenvalue_max": 1.0}
    monkeypatch.setattr(lab, "verdict", lambda problem, result: verdict)
    monkeypatch.setattr(
        lab, "same", lambda problem, a, b: {"same": "lbfgs" not in (a.data["solver"], b.data["solver"])}
    )
    told = minima.answer(lab).sentences[2]
    assert told.endswith("ended where the flow ends: vode 1 of 1; these not always: lbfgs 0 of 1.")


def test_the_cheapest_follower_is_told_for_each_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Columns: error, presentations, seconds, steps. From one start tsit5 is the cheaper one, from two vode.
    lab = Made(tmp_path, dataclasses.replace(SMALL, path_seeds=3))
    errors = np.array(paths.TOLERANCES)

    def runs(lab: Lab, network: str, seed: int) -> dict[str, np.ndarray]:
        work = {"vode": 10.0, "tsit5": 5.0 if seed == 2 else 20.0}
        return {name: np.column_stack([errors, *[np.full(5, cost)] * 3]) for name, cost in work.items()}

    monkeypatch.setattr(paths, "_runs", runs)
    found = paths.answer(lab)
    assert found.verdict == "vode in presentations and vode in seconds"
    assert "over 9 cases" in found.sentences[0]
    assert "vode 6 times and tsit5 3 times" in found.sentences[0]
    assert "from 3 starts of iris" in found.sentences[2]
    assert found.tables[0]["rows"][5] == ["iris, tsit5", "0.01", "0.01", "20", "20", "20"]  # the median


def test_whether_the_factor_grows_as_the_error_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Momentum needs 2 times the presentations at 10%, and 2 + 10 times at 0.1%.
    lab = Made(tmp_path)
    monkeypatch.setattr(owens_filkin, "ratio_of", lambda lab, problem: 100.0)
    slow = dict(zip(map(level, ERRORS), np.linspace(2.0, 12.0, len(ERRORS)), strict=True))
    momentum = owens_filkin.METHODS["momentum"]
    monkeypatch.setattr(
        lab, "costs", lambda problem, method, at, what="": [Amount(slow[at] if method == momentum else 1.0)]
    )
    found = owens_filkin.answer(lab)
    assert "12 times its presentations on 1 of 1 networks" in found.sentences[0]
    assert found.sentences[1].startswith("From the largest error to the smallest the factor grows on 1 of 1 networks")
    assert found.sentences[1].endswith("from 2 (2) to 12 (12).")
    assert "neither grows nor falls clearly" in found.sentences[2]


def test_fates_count_each_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Made(tmp_path)
    for name in ("vode", "lsoda", "lbfgs", "auto"):
        lab.add(Method(name), 1.0, 10.0)
    lab.add(minima.FLOW, 1.0, 10.0)
    resting = {"vode", "lbfgs", "auto"}
    monkeypatch.setattr(minima, "rested", lambda lab, problem, result: result.data["solver"] in resting)
    monkeypatch.setattr(lab, "same", lambda problem, a, b: {"same": b.data["solver"] != "lbfgs"})
    counts = minima.fates(lab)
    assert counts["vode"] == counts["auto"] == {"the flow's minimum": 1}
    assert counts["lbfgs"] == {"another minimum": 1}
    assert counts["lsoda"] == {"not at rest": 1}


def test_bands_of_accuracy_share_out_counts_and_clocks() -> None:
    rows = {name: [0.0, 1.0, 2.0, 3.0, 4.0] for name in ("steps", "wall_seconds", "jacobian_evaluations")}
    rows |= {"rhs_evaluations": [0.0, 10.0, 20.0, 30.0, 40.0], "rhs_seconds": [0.0, 2.0, 4.0, 6.0, 8.0]}
    rows |= {name: [0.0, 1.0, 2.0, 3.0, 4.0] for name in ("library_seconds", "recording_seconds")}
    rows |= {"jacobian_seconds": [0.0] * 5}
    scores = [{"steps": float(k), "train": score} for k, score in enumerate((0.1, 0.5, 0.85, 0.7, 1.0))]
    base = {"outcome": "TARGET", "seed": 0, "loss": 0.0, "gradient_norm": 0.0, "statistics": {}}
    result = Result({**base, "trace": rows, "scores": scores})
    spent = bands.in_bands(result, differences=5)
    assert [None if s is None else s["steps"] for s in spent] == [1.0, 2.0, None, None, 1.0]
    # One Jacobian of five right sides in each ten: half of the seconds in right sides.
    assert spent[1] is not None
    assert (spent[1]["jacobian_seconds"], spent[1]["rhs_seconds"]) == (2.0, 2.0)
    assert bands._shares(spent[1]) == [0.25, 0.25, 0.25, 0.25]


def test_the_constructed_saddle_is_one() -> None:
    objective, w, eigenvalues = saddle.construct()
    assert np.linalg.norm(np.asarray(objective.gradient(w))) < 1e-11
    assert eigenvalues[0] < -1e-3
    assert eigenvalues[-1] > 0.1
    hidden = objective.unflatten(w)[0]
    np.testing.assert_array_equal(hidden["weight"][0], hidden["weight"][-1])


def test_rank_correlations() -> None:
    assert owens_filkin._rank_correlation([(1.0, 10.0), (2.0, 100.0), (3.0, 5000.0)]) == pytest.approx(1.0)
    assert owens_filkin._rank_correlation([(1.0, 3.0), (2.0, 2.0), (9.0, 1.0)]) == pytest.approx(-1.0)
    assert math.isnan(owens_filkin._rank_correlation([(1.0, 3.0), (2.0, math.nan)]))


def test_the_follower_of_the_flow_is_the_soonest_that_never_strayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Made(tmp_path)
    for name, seconds in (("vode", 1.0), ("chebyshev", 0.25), ("lsoda", 2.0), ("auto", 0.01)):
        lab.add(Method(name), seconds, 10.0)
        lab._results[NETWORKS["iris"].name, Method(name), 0].data["targets"]["deep"]["wall_seconds"] = seconds
    true, other, _ = minima.PARTS
    fates = {name: Counter({true: 5}) for name in ("vode", "chebyshev", "lsoda")} | {
        "auto": Counter({true: 4, other: 1})
    }
    monkeypatch.setattr(minima, "fates", lambda lab: fates)
    assert "chebyshev came to rest soonest: it took 0.25 times vode's seconds" in integrators._follower(lab)
