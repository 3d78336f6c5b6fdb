"""The study in its quick form, and the parts of which answers are made."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stiffgrad.cli import app
from stiffgrad.laboratory import study
from stiffgrad.laboratory.study import _finding, _runs, bands, original, owens_filkin, stiff
from stiffgrad.laboratory.study._problems import SETTINGS
from stiffgrad.laboratory.study._runs import Run, Spec
from stiffgrad.laboratory.study._store import Store
from stiffgrad.report.study import markdown, write


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    result = CliRunner().invoke(app, ["study", "--quick", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def test_the_quick_form_answers_every_question(quick: Path) -> None:
    findings = json.loads((quick / "findings.json").read_text())
    assert study.KEYS == (
        "original",
        "same_minimum",
        "solver_and_tolerance",
        "stiffness",
        "above_80_percent",
        "jacobian",
        "owens_filkin",
        "integrators",
    )
    for key in study.KEYS:
        entry = findings[key]
        assert set(entry) == {"question", "answer", "evidence", "command"}
        assert re.search(r"\d", entry["answer"])
        assert entry["evidence"]["tables"][0]["rows"]
        assert entry["evidence"]["charts"]
        assert entry["command"] == f"stiffgrad study --quick --only {key} --out {quick}"
    assert findings["environment"]["packages"]["jax"]


def test_numbers_of_an_answer_are_those_of_the_runs(quick: Path) -> None:
    findings = json.loads((quick / "findings.json").read_text())
    seen = findings["original"]["evidence"]["numbers"]["problems"]["iris"]["wall_seconds"]["sgd"]
    files = [json.loads(path.read_text()) for path in (quick / "runs").glob("run_iris_*.json")]
    (sgd,) = [f for f in files if f["content"]["solver"] == "sgd"]
    walls = sgd["result"]["trace"]["wall_seconds"]
    assert seen is None or seen in walls


def test_a_second_run_does_no_work_and_the_page_is_one_file(quick: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (quick / "runs").iterdir()}
    assert study.run(quick, quick=True, only=["original", "jacobian"])["computed"] == 0
    assert {path: path.stat().st_mtime_ns for path in (quick / "runs").iterdir()} == before
    html = write(quick).read_text()
    for title in ("The same minimum?", "Is it stiff?", "Owens and Filkin"):
        assert title in html
    assert "<script" not in html
    assert not re.search(r'(src|href)="http', html)
    assert html.count("<img") >= 8
    text = markdown(json.loads((quick / "findings.json").read_text()))
    assert text.count("\n## ") == len(study.KEYS)
    widths = {
        line.count("|") for line in text.split("\n| problem, solver | atol/rtol")[1].split("\n\n")[0].split("\n")[1:]
    }
    assert len(widths) == 1


def test_bad_input_is_one_line_and_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["study", "--only", "nonsense", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "nonsense" in result.output
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = CliRunner().invoke(app, ["study", "--quick", "--out", str(blocked / "x")])
    assert result.exit_code == 2
    with pytest.raises(ValueError, match=r"findings\.json"):
        write(tmp_path)


def test_a_damaged_result_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    content = {"kind": "costs", "problem": "iris"}
    assert store.get(content, lambda: {"a": np.float64(1.5), "b": np.inf}) == {"a": 1.5, "b": None}
    assert store.get(content, lambda: {"a": 2.0}) == {"a": 1.5, "b": None}
    store.path(content).write_text("{")
    assert store.get(content, lambda: {"a": 2.0}) == {"a": 2.0}
    assert store.computed == 2


def test_a_failed_run_is_a_result() -> None:
    result = _runs.execute(Spec("iris", "vode", (("max_order", 99),), 0, 1.0))
    assert result["outcome"] == "FAILED"
    assert "max_order" in result["message"]
    run = Run(Spec("iris", "vode", (), 0, 1.0), result)
    assert run.cost("loss", 0.0, "wall_seconds") == np.inf


# ---- answers follow the data, whatever they say


def test_the_verdict_on_the_original_finding_follows_the_numbers() -> None:
    assert original.sentence({"a": 10.0, "b": 5.0}, {"a": 3.0, "b": 2.0}, {"a": 4.0, "b": 3.0}).startswith("Reproduced")
    assert original.sentence({"a": 0.5}, {"a": 0.5}, {"a": 3.0}).startswith("Not reproduced")
    partly = original.sentence({"a": 10.0, "b": 10.0}, {"a": 3.0, "b": 3.0}, {"a": 4.0, "b": 0.5})
    assert partly.startswith("Partly reproduced")
    assert "faster as well on b" in partly


def test_the_verdict_on_stiffness_follows_the_numbers() -> None:
    numbers = {"a": {"stiff_at": 0.5}, "b": {"stiff_at": np.nan}}
    text = stiff.sentence({"a": {"dopri5": 5.0}, "b": {"dopri5": 0.5}}, numbers)
    assert "more than twice vode's time to 99% of the removable loss on a" in text
    assert "the suspicion is right and the flow hardly stiff where it matters, on b" in text
    assert "never does on b" in text


def test_bands_of_accuracy_share_out_the_whole_run() -> None:
    result = {
        "outcome": "TARGET",
        "w": [0.0],
        "loss": 0.0,
        "gradient_norm": 0.0,
        "wall_seconds": 4.0,
        "statistics": {},
        "probes": [],
        "verdict": None,
        "trace": {name: [0.0, 1.0, 2.0, 3.0, 4.0] for name in ("steps", "wall_seconds", "rhs_evaluations")}
        | {
            name: [None] * 5
            for name in (
                "jacobian_evaluations",
                "error_test_failures",
                "newton_failures",
                "newton_iterations",
                "factorizations",
                "order",
                "step_size",
            )
        },
        "points": {"steps": [0.0, 1.0, 2.0, 3.0, 4.0], "score": [0.1, 0.5, 0.85, 0.7, 1.0]},
    }
    spent = bands.spent_in_bands(Run(Spec("iris", "vode", (), 0, 1.0), result))
    assert [None if s is None else s[0] for s in spent] == [1.0, 2.0, None, None, 1.0]
    shares = bands.shares(
        np.array([10.0, 2.0, 0.0, 0.0, 0.0, 4.0, 30.0, 10.0]),
        {"weights": 5.0, "gradient": 0.1, "hessian": 2.0, "lu": 0.5, "complex_lu": 1.0},
        differences=True,
    )
    # 2 Jacobians of 5 gradients, 4 complex factorizations, 20 other right sides: 1, 4 and 2 of 10 seconds.
    assert shares == pytest.approx([0.1, 0.4, 0.2, 0.3])


def test_rms_error_and_loss_agree() -> None:
    # One output with a range of 1: E = rms^2 / 2; eight outputs: eight times that.
    assert owens_filkin.loss_at("xor-exact", 0.1) == pytest.approx(0.005)
    assert owens_filkin.loss_at("encoder-exact", 0.1) == pytest.approx(0.04)
    for problem in ("xor-exact", "encoder-exact"):
        objective = SETTINGS[problem].problem.objective(0)
        outputs, y = SETTINGS[problem].problem, SETTINGS[problem].problem.data.train
        apply, params = outputs.network(0)
        z = np.array([np.asarray(apply(params, x)) for x in y.X])
        rms = np.sqrt(np.mean((z - y.y.reshape(z.shape)) ** 2))
        assert owens_filkin.loss_at(problem, rms) == pytest.approx(float(objective.value(objective.w0)), rel=1e-12)


def test_settings_count_their_weights() -> None:
    for setting in SETTINGS.values():
        assert setting.weights == setting.problem.objective(0).size


def test_a_long_trace_keeps_its_course() -> None:
    count = 20_000
    loss = 1.0 + np.exp(-np.arange(count) / 500.0)
    trace = {"loss": loss, "gradient_norm": np.exp(-np.arange(count) / 500.0)}
    rows = _runs.kept_rows(trace)
    assert rows[0] == 0
    assert rows[-1] == count - 1
    assert len(rows) < 5 * _runs.KEPT_ROWS
    for share in (0.8, 0.9, 0.99, 0.999):
        level = loss[0] - share * (loss[0] - loss[-1])
        exact = np.argmax(loss <= level)
        kept = rows[np.argmax(loss[rows] <= level)]
        assert exact <= kept <= 1.05 * exact


def test_medians_and_words() -> None:
    assert _finding.middle([1.0, np.inf, 3.0]) == 3.0
    assert _finding.middle([1.0, np.inf]) == np.inf
    assert _finding.typical([1.0, 100.0, np.inf]) == pytest.approx(10.0)
    assert _finding.within(["a", "b", "c"]) == "a, b and c"
    assert _finding.show(np.inf) == "missed"
