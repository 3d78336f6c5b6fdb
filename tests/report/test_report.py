"""The report: its arithmetic against numbers known from mathematics, its page as a reader's browser sees it."""

import html.parser
import json
import re

import numpy as np
import pytest

from stiffgrad import report
from stiffgrad.laboratory.cells import Cell, Method, failed_cell
from stiffgrad.laboratory.tables import failures
from stiffgrad.report import _measures as measures
from stiffgrad.report import pictures
from stiffgrad.report._cells import comparable, holes
from stiffgrad.report._style import COLOURS, image, looks, spread
from stiffgrad.report.comparison import command
from stiffgrad.run.trace import COLUMNS, COUNTS

VOID = {"meta", "link", "img", "source", "br", "hr"}


def make_cell(problem="digits", solver="vode", seed=0, rate=1.0, **changes):
    """A result as `compare` saves it: the loss falls as exp(-rate t), the accuracy is 1 - loss/2, one step is 10 ms.

    Targets are a loss of 0.5, 0.05 and 0.005, reached after log(2)/rate seconds and so on; the budget is 4 s.
    """
    wall = np.round(np.arange(0, 4.005, 0.01), 10)
    loss = np.exp(-rate * wall)
    steps = np.arange(len(wall))
    ode = solver not in ("adam", "sgd", "lbfgs", "nesterov")
    trace = {name: [None] * len(wall) for name in COLUMNS}
    trace |= {"wall_seconds": wall.tolist(), "loss": loss.tolist(), "gradient_norm": loss.tolist()}
    trace |= {"steps": steps.tolist(), "presentations": (3 * steps).tolist(), "rhs_evaluations": (2 * steps).tolist()}
    if ode:
        trace |= {"flow_time": (10 * wall).tolist(), "step_size": [None, *np.full(len(wall) - 1, 0.1).tolist()]}
        trace |= {"order": np.clip(steps, 1, 5).tolist(), "newton_iterations": (2 * steps).tolist()}
    targets = {}
    for name, value in (("easy", 0.5), ("medium", 0.05), ("deep", 0.005)):
        row = int(np.argmax(loss <= value)) if loss[-1] <= value else None
        costs = {"wall_seconds": wall, "presentations": 3 * steps, "steps": steps}
        found = {key: None if row is None else float(column[row]) for key, column in costs.items()}
        targets[name] = {"loss": value, **found}
    checks = range(0, len(wall), 5)
    score = {"train": lambda i: 1 - loss[i] / 2, "test": lambda i: 1 - loss[i] / 2 - 0.02}
    columns = {"wall_seconds": wall, "presentations": 3 * steps, "steps": steps, "loss": loss}
    scores = [
        {**{key: float(column[i]) for key, column in columns.items()}, **{key: float(f(i)) for key, f in score.items()}}
        for i in checks
    ]
    hit = targets["deep"]["wall_seconds"] is not None
    return {
        "key": f"{problem}-{solver}-{seed}",
        "problem": problem,
        "solver": solver,
        "options": {},
        "seed": seed,
        "seconds": 4.0,
        "outcome": "TARGET" if hit else "OUT_OF_TIME",
        "success": hit,
        "message": f"{solver}: out of wall time (4 s were allowed). Continue from <solution.params>.",
        "loss": float(loss[-1]),
        "gradient_norm": float(loss[-1]),
        "wall_seconds": 4.0,
        "compile_seconds": 0.5,
        "total_seconds": 4.5,
        "statistics": {name: trace[name][-1] for name in COUNTS},
        "trace": trace,
        "targets": targets,
        "scores": scores,
        "score_name": "accuracy",
        "learning_rate": None if ode else 0.1,
        "tuning_seconds": None if ode else 12.0,
        "environment": {"python": "3.11.9", "packages": {"jax": "0.10.2"}, "cpu": "2 cores"},
        **changes,
    }


def save(folder, *cells):
    folder.mkdir(exist_ok=True)
    for cell in cells:
        (folder / f"{cell['key']}.json").write_text(json.dumps(cell))
    return folder


def make_folder(path):
    """Two solvers, three starts, a classifier and a regression; `sgd` misses the deep target everywhere."""
    rates = {"vode": (3.0, 4.0, 5.0), "sgd": (0.6, 0.7, 0.8)}
    cells = [make_cell("digits", name, seed, rate) for name in rates for seed, rate in enumerate(rates[name])]
    cells += [make_cell("diabetes", name, 0, rates[name][0], score_name="R2") for name in rates]
    return save(path, *cells)


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "run")


# ---- arithmetic


def test_a_curve_on_a_grid_is_the_newest_value_known():
    curve = (np.array([0.0, 1.0, 2.0]), np.array([4.0, 2.0, 1.0]))
    grid = np.array([0.5, 1.0, 1.5, 2.0, 9.0])
    np.testing.assert_array_equal(measures.on_grid(curve, grid), [4, 2, 2, 1, 1])
    assert np.isnan(measures.on_grid((np.array([1.0]), np.array([2.0])), np.array([0.5])))[0]


def test_median_and_range_over_seeds():
    grid = measures.log_grid([(np.array([0.0, 0.1, 10.0]), np.ones(3))], points=3)
    np.testing.assert_allclose(grid, [0.1, 1.0, 10.0])
    x = np.array([0.0, 0.5, 5.0])
    curves = [(x, factor * np.array([4.0, 2.0, 1.0])) for factor in (1.0, 10.0, 100.0)]
    middle, low, high = measures.median_band(curves, grid)
    np.testing.assert_allclose(middle, [40, 20, 10])
    np.testing.assert_allclose(low, [4, 2, 1])
    np.testing.assert_allclose(high, [400, 200, 100])


def test_best_so_far_ignores_what_is_not_known():
    np.testing.assert_array_equal(measures.best_so_far(np.array([3.0, np.nan, 5.0, 1.0, 2.0])), [3, 3, 3, 1, 1])


def test_times_to_target_and_their_ratios(folder):
    cells, damages = report.read(folder)
    assert not damages
    runs = [cell for cell in cells if cell.problem == "digits"]
    vode = measures.reach([c for c in runs if c.solver == "vode"], "medium")
    sgd = measures.reach([c for c in runs if c.solver == "sgd"], "medium")
    # log(20)/4 = 0.7489 and, since log(20)/0.7 = 4.28 > 4, only the fastest of three is in time.
    assert (vode.hits, vode.runs, vode.median) == (3, 3, 0.75)
    assert (sgd.hits, sgd.runs, sgd.median, sgd.bound) == (1, 3, 4.0, True)
    factors = measures.ratios({"vode": vode, "sgd": sgd})
    assert factors == {"vode": 1.0, "sgd": pytest.approx(4.0 / 0.75)}
    assert measures.reach([c for c in runs if c.solver == "vode"], "medium", "presentations").median == 3 * 75


def test_a_target_that_nobody_reached_has_no_ratio():
    missed = measures.Reach(np.array([4.0, 4.0]), 0)
    assert np.isnan(measures.ratios({"a": missed, "b": missed})["a"])


@pytest.mark.parametrize(("hits", "runs", "bound"), [(5, 5, False), (3, 5, False), (2, 5, True), (1, 2, True)])
def test_a_median_that_rests_on_a_miss_is_a_bound(hits, runs, bound):
    assert measures.Reach(np.ones(runs), hits).bound is bound


def test_counts_in_bands_add_up_to_the_whole_run(tmp_path):
    (cell,), _ = report.read(save(tmp_path / "run", make_cell(rate=2.0)))
    spent = measures.band_counts(cell, ["steps", "newton_iterations", "jacobian_evaluations"])
    # Accuracy is 1 - exp(-2t)/2, looked at every 5 steps of 0.01 s: it passes 80% at t = log(2.5)/2 = 0.458, so at the
    # check after 50 steps; 90% at log(5)/2 = 0.805, after 85; 95% at 1.151, after 120; 99% at 1.956, after 200.
    assert [band["steps"] for band in spent] == [50, 35, 35, 80, 200]
    assert [band["newton_iterations"] for band in spent] == [100, 70, 70, 160, 400]
    assert all(np.isnan(band["jacobian_evaluations"]) for band in spent)


def test_a_band_jumped_over_counts_nothing_and_one_above_the_best_is_not_reached(tmp_path):
    rows = [(0, 0.5), (100, 0.8), (200, 0.92), (300, 0.85)]
    scores = [
        {"wall_seconds": n / 100, "presentations": n, "steps": n, "loss": 1.0, "train": a, "test": a} for n, a in rows
    ]
    (cell,), _ = report.read(save(tmp_path / "run", make_cell(scores=scores)))
    spent = measures.band_counts(cell, ["steps"])
    # A band holds its upper end; a fall back to 85% is still work of the band of the best.
    assert [band and band["steps"] for band in spent] == [200, 0, 200, None, None]


def test_labels_are_moved_apart_and_keep_their_order():
    placed = spread([0.5, 0.5, 0.52, 0.0, 1.0], 0.1, 0.0, 1.0)
    assert np.all(np.diff(np.sort(placed)) >= 0.1 - 1e-12)
    assert np.argsort(placed).tolist() == [3, 0, 1, 2, 4]
    assert min(placed) >= 0
    assert max(placed) <= 1


def test_no_two_of_many_series_look_alike():
    styles = looks([f"solver {i}" for i in range(35)])
    assert len({(look.colour, look.marker) for look in styles.values()}) == 35
    assert len({look.colour for look in list(styles.values())[: len(COLOURS)]}) == len(COLOURS)


# ---- the page


class Reader(html.parser.HTMLParser):
    """Checks that every tag is closed in order, and collects what the tests ask for."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.alts, self.text = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        self.sources += [values[name] for name in ("src", "srcset", "data") if name in values]
        if tag == "link":
            self.sources.append(values["href"])
        if tag == "img":
            self.alts.append(values["alt"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def parse(folder):
    text = report.write(folder).read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    reader.close()
    return text, reader


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    return parse(make_folder(tmp_path_factory.mktemp("report") / "run"))


def test_the_page_is_well_formed_and_self_contained(parsed):
    text, reader = parsed
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert {f"#{name}" for name in reader.ids} >= set(reader.links)
    assert len(reader.sources) > 8
    assert all(source.startswith("data:") for source in reader.sources)
    assert "<script" not in text
    assert not re.search(r"https?://|url\(|@import", text)
    assert all(len(alt) > 40 for alt in reader.alts)


def test_the_page_tells_results_in_words(parsed):
    _, reader = parsed
    text = " ".join(" ".join(reader.text).split())
    # Two solvers: the deep target at log(200)/4 s; the medium one at log(20)/4 against 4 s, the budget, ratio 5.3.
    assert "on digits, vode reached the deep target first, in 1.3 s" in text
    assert "0.75 s 1× 3/3" in text
    assert ">4 s >5.3× 1/3" in text
    assert "Continue from <solution.params>." in text
    assert "stiffgrad compare --problem diabetes --problem digits" in text
    assert "packages jax 0.10.2" in text
    for band in measures.BAND_NAMES:
        assert f"vode, {band}" in text


def test_the_same_results_give_the_same_page(tmp_path):
    folder = save(tmp_path / "run", make_cell(scores=[]))
    first = report.write(folder).read_bytes()
    assert report.write(folder).read_bytes() == first


def test_damaged_and_missing_cells_are_reported_and_stop_nothing(tmp_path):
    cells = [make_cell(solver=name, seed=seed, scores=[]) for name, seed in (("vode", 0), ("vode", 1), ("sgd", 0))]
    folder = save(tmp_path / "run", *cells)
    (folder / "half.json").write_text('{"problem": "digits", "sol')
    (folder / "list.json").write_text("[]")
    (folder / "binary.json").write_bytes(b"\xff\xfe\x00")
    (folder / "trace.json").write_text(json.dumps(make_cell(trace={"loss": [1.0]})))
    (folder / "outcome.json").write_text(json.dumps(make_cell(outcome="FINE")))
    bare = make_cell()
    del bare["seed"]
    (folder / "bare.json").write_text(json.dumps(bare))
    _, reader = parse(folder)
    text = " ".join(reader.text)
    assert "half.json: is not valid JSON" in text
    assert "list.json: holds a list, not one result" in text
    assert "binary.json: is not text" in text
    assert "trace.json: its trace has no column" in text
    assert "outcome.json: outcome 'FINE' is none of TARGET" in text
    assert "bare.json: has no entry 'seed'" in text
    assert "digits, sgd: no result for seed 1" in text


def test_a_complete_comparison_has_no_holes(folder):
    assert holes(report.read(folder)[0]) == []


def test_nothing_known_but_the_start_still_makes_a_page(tmp_path):
    """A solver that failed at once: one row, no loss, no score, no target."""
    whole = make_cell()
    first = {name: column[:1] for name, column in whole["trace"].items()}
    nothing = {name: {"loss": 0.5, "wall_seconds": None} for name in ("easy", "medium", "deep")}
    cell = make_cell(trace=first, targets=nothing, scores=[], outcome="FAILED", loss=None, gradient_norm=None)
    text = report.write(save(tmp_path / "run", cell)).read_text(encoding="utf-8")
    assert "no solver reached the easy target" in text
    assert "the solver failed (1)" in text


def test_a_loss_that_is_not_finite_or_zero_is_drawn(tmp_path):
    loss = [1.0, 0.5, 0.0, None]
    columns = dict.fromkeys(COLUMNS, [None] * 4) | {"steps": [0, 1, 2, 3], "presentations": [0, 1, 2, 3]}
    trace = columns | {"wall_seconds": [0.0, 0.1, 0.2, 0.3], "loss": loss}
    cells, _ = report.read(save(tmp_path / "run", make_cell(trace=trace, outcome="DIVERGED", scores=[])))
    assert image(pictures.loss_curves(cells), "svg").startswith(b"<?xml")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_an_empty_or_missing_folder_is_named_with_the_remedy(tmp_path, make):
    make(tmp_path / "runs")
    with pytest.raises(ValueError, match=r"runs' (does not exist|holds no results).*stiffgrad compare .*--out"):
        report.write(tmp_path / "runs")


def test_a_folder_of_damaged_files_only_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"1 JSON files, but none is a readable result \(a.json"):
        report.write(tmp_path)


def test_the_command_names_everything_that_ran(folder):
    cells, _ = report.read(folder)
    words = command(cells, "runs/x").replace("\\\n", " ").split()
    assert words[:2] == ["stiffgrad", "compare"]
    assert {words[i + 1] for i, word in enumerate(words) if word == "--solver"} == {"vode", "sgd"}
    assert words[words.index("--seeds") + 1] == "3"
    assert words[words.index("--seconds") + 1] == "4"


@pytest.mark.parametrize(("ending", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_picture_of_the_page_is_saved_by_itself(tmp_path, ending, magic):
    folder = save(tmp_path / "run", make_cell(scores=[]))
    saved = report.write_picture(folder, tmp_path / "pictures" / f"demo.{ending}")
    assert saved.read_bytes().startswith(magic)


def test_a_picture_of_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"demo.gif' must end in one of .svg, .pdf, .png"):
        report.write_picture(tmp_path, tmp_path / "demo.gif")


def test_results_of_another_budget_do_not_mix(tmp_path):
    cells = [make_cell(seed=seed, scores=[]) for seed in (0, 1)]
    cells.append(make_cell(seed=1, scores=[], seconds=9.0, key="other"))
    kept, left_out = comparable(report.read(save(tmp_path / "run", *cells))[0])
    assert [(cell.seed, cell.seconds) for cell in kept] == [(0, 4.0), (1, 4.0)]
    assert left_out == ["digits: 1 result with a budget of 9 s and the target “deep”, left out beside 4 s, “deep”"]


def test_results_of_other_code_or_machines_do_not_mix(tmp_path):
    old, new = (make_cell(seed=seed, scores=[], key=f"{seed}") for seed in (0, 1))
    old["environment"] = {"code": "aaa", "cpu": "one", "date": "2026-01-01"}
    new["environment"] = {"code": "bbb", "cpu": "one", "date": "2026-01-02"}
    kept, (words,) = comparable(report.read(save(tmp_path / "run", old, new))[0])
    assert [cell.seed for cell in kept] == [1]
    assert words.startswith("1 result of other code or another machine (code aaa, one), left out")


def test_targets_beyond_where_a_run_stopped_are_not_missed(tmp_path):
    (cell,), _ = report.read(save(tmp_path / "run", make_cell(target="medium")))
    assert list(cell.targets) == ["easy", "medium"]


def test_a_target_reached_after_the_budget_is_missed(tmp_path):
    (cell,), _ = report.read(save(tmp_path / "run", make_cell(rate=3.0, seconds=0.5)))
    # log(20)/3 = 0.9986 s, while log(2)/3 = 0.2310 s.
    assert measures.reach([cell], "medium").hits == 0
    assert measures.reach([cell], "medium").median == 0.5
    assert measures.reach([cell], "easy").median == pytest.approx(0.24)


# ---- what is damaged, failed or odd


def test_a_problem_with_failed_runs_alone_has_its_place_and_says_why(tmp_path):
    failed = failed_cell(Cell("two-spirals", Method.of("vode"), 0, 4.0), "ValueError: it rained", 0.1)
    folder = save(tmp_path / "run", make_cell(), failed)
    page = report.write(folder).read_text()
    assert "two-spirals" in page
    assert "it rained" in page
    report.write_picture(folder, tmp_path / "picture.svg")
    assert failures([make_cell(), failed]) == ["two-spirals, vode: the solver failed (ValueError: it rained) (seed 0)"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps(make_cell(seconds=0)), "seconds=0 must be a positive"),
        (json.dumps(make_cell(seconds=-1.0)), "seconds=-1.0 must be"),
        (json.dumps(make_cell()).replace('"seconds": 4.0', '"seconds": Infinity'), "seconds=inf must be"),
        ("[" * 100_000, "nested too deep"),
        (json.dumps(make_cell(problem="a\x00b")), "no name of a problem"),
        (json.dumps(make_cell(seed=1e400)).replace("Infinity", "1e999"), "infinity"),
    ],
)
def test_a_damaged_cell_is_a_note(text, reason, tmp_path):
    folder = save(tmp_path / "run", make_cell())
    (folder / "damaged.json").write_text(text)
    _, damages = report.read(folder)
    assert [damage.file for damage in damages] == ["damaged.json"]
    assert reason in damages[0].reason
    assert "damaged.json" in report.write(folder).read_text()


def test_names_of_any_length_fit(tmp_path):
    cell = make_cell(problem="p" * 300, solver="s" * 300, options={"a" * 300: "b" * 300}, key="long")
    page = report.write(save(tmp_path / "run", make_cell(), cell)).read_text()
    assert "s" * 300 in page


def test_maps_show_what_was_found_and_its_error(tmp_path):
    """One row a solver, the error as its logarithm; cells without a plane, or with a damaged one, change nothing."""
    x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(-1, 1, 4), indexing="ij")
    exact = x * y
    sides = [[0.0, 1.0], [-1.0, 1.0]]
    found = {"vode": exact + 1e-3, "adam": np.where(x > 0.9, np.nan, exact + 1e-1)}
    fields = {
        name: {
            "sides": sides,
            "exact": exact.tolist(),
            "found": [[None if np.isnan(v) else v for v in r] for r in rows],
        }
        for name, rows in found.items()
    }
    cells = [make_cell("poisson2d", name, field=field) for name, field in fields.items()]
    broken = make_cell("poisson2d", "sgd", field={**fields["vode"], "found": [[1.0]]})
    read, damages = report.read(save(tmp_path / "run", *cells, broken))
    assert [damage.file for damage in damages] == ["poisson2d-sgd-0.json"]
    images = [axes.get_images()[0].get_array() for axes in pictures.maps(read).axes if axes.get_images()]
    shown = dict(zip([cell.label for cell in read], images[2::2], strict=True))
    np.testing.assert_allclose(shown["vode"], -3.0, atol=1e-9)  # a logarithm of the error, at every point
    np.testing.assert_allclose(shown["adam"].T[0], -1.0, atol=1e-9)
    np.testing.assert_allclose(images[0], exact.T)
    html = report.comparison.page(read, damages, tmp_path)
    assert "The solution, and where it is wrong" in html
    assert "vode 0.001" in html
    assert "where it is wrong" not in report.comparison.page(
        report.read(make_folder(tmp_path / "other"))[0], [], tmp_path
    )
