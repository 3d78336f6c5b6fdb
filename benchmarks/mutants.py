"""Do the tests notice when one operator of the core is changed? `nox -s mutants`.

Cosmic Ray finds the places; a sample of them, drawn by a seed, is changed one at a time in a copy of the checkout, and
the tests that are named beside a module here run until one fails. What they do not notice is listed with its change.
Results are kept as they come: a second call goes on. Not every survivor is a fault of the tests: some constants are
choices (a step twice as long is as right), and some changes are none.

`--known` makes the changes of `KNOWN` instead, errors that tests once did not notice, each beside the test that does.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import MutationSpec
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = pathlib.Path(__file__).resolve().parent.parent
OWN = "tests/solvers/test_rosenbrock.py tests/solvers/test_auto.py"
CONTROL = f"tests/solvers/test_control.py {OWN} tests/solvers/test_quasi_newton.py"
TESTS = {  # the part of src/stiffgrad that is changed: the tests that should notice
    "curvature/dense.py": OWN,
    "curvature/kronecker.py": "tests/curvature/test_kronecker.py tests/solvers/test_exponential.py",
    "curvature/lanczos.py": "tests/curvature/test_lanczos.py tests/solvers/test_exponential.py",
    "curvature/linalg.py": OWN,
    "curvature/point.py": CONTROL,
    "curvature/rows.py": "tests/curvature/test_rows.py tests/solvers/test_rosenbrock.py",
    "curvature/secant.py": "tests/curvature/test_secant.py tests/curvature/test_kronecker.py",
    "objective/losses.py": "tests/objective",
    "objective/derivatives.py": "tests/objective tests/curvature/test_rows.py",
    "run/until.py": "tests/run/test_until.py",
    "solvers/_combination.py": "tests/solvers/test_control.py tests/solvers/test_auto.py tests/run/test_checkpoint.py",
    "solvers/_control.py": CONTROL,
    "solvers/_own.py": CONTROL,
    "solvers/_tally.py": CONTROL,
    "solvers/chebyshev.py": "tests/solvers/test_chebyshev.py tests/run/test_path.py",
    "solvers/krylov.py": "tests/solvers/test_exponential.py",
    "solvers/quasi_newton.py": "tests/solvers/test_quasi_newton.py",
    "solvers/rosenbrock_wanner.py": "tests/solvers/test_rosenbrock.py tests/run/test_path.py",
    "solvers/secants.py": "tests/solvers/test_exponential.py",
    "solvers/w_method.py": OWN,
    "analysis/minimum.py": "tests/analysis",
    "analysis/same_minimum.py": "tests/analysis",
    "analysis/spectrum.py": "tests/analysis",
    "analysis/stiffness.py": "tests/analysis",
}
KNOWN = [  # module, what stands there, what it is changed to, the test that notices
    (
        "solvers/chebyshev.py",
        "0.8 * (state.w - w) - 0.4 * size",
        "0.8 * (state.w - w) + 0.4 * size",
        "tests/solvers/test_chebyshev.py::test_the_embedded_error_is_of_third_order",
    ),
    (
        "analysis/minimum.py",
        "max(1e-6 * float(np.sqrt(",
        "max(1e-2 * float(np.sqrt(",
        "tests/analysis/test_analysis.py::test_the_default_tolerance_is_a_millionth_of_the_largest_slope_at_the_start",
    ),
    (
        "analysis/minimum.py",
        "np.maximum(threshold, 2.0 * shift)",
        "np.maximum(threshold, 200.0 * shift)",
        "tests/analysis/test_analysis.py::test_an_eigenvalue_is_in_doubt_up_to_twice_what_the_gradient_may_change",
    ),
    (
        "analysis/minimum.py",
        "blind += int(block.coefficients.size) if softmax else 0",
        "blind += 0",
        "tests/analysis/test_analysis.py::test_softmax_is_blind_to_one_row_a_sample",
    ),
    (
        "analysis/same_minimum.py",
        "LOW = 1e-3",
        "LOW = 3e-2",
        "tests/analysis/test_analysis.py::test_a_barrier_counts_as_a_share_of_the_loss_removed",
    ),
    (
        "analysis/same_minimum.py",
        "barrier / max(removed, barrier)",
        "barrier / max(start, barrier)",
        "tests/analysis/test_analysis.py::test_a_barrier_counts_as_a_share_of_the_loss_removed",
    ),
    (
        "laboratory/cells.py",
        '"protocol": PROTOCOL,',
        "",
        "tests/laboratory/test_compare.py::test_keys_depend_on_protocol_and_code",
    ),
    (
        "laboratory/cells.py",
        ' & (trace["wall_seconds"] <= cell.seconds)',
        "",
        "tests/laboratory/test_compare.py::test_a_target_met_after_the_budget_is_missed",
    ),
    (
        "solvers/w_method.py",
        "solves = 1 + corrections if self._corrects(objective) else 1",
        "solves = 2 + corrections if self._corrects(objective) else 2",
        "tests/solvers/test_rosenbrock.py::test_every_point_took_one_linear_solve",
    ),
    (
        "flow.py",
        "primed, self._primed = self._primed, None",
        "primed = self._primed",
        "tests/test_flow.py::test_the_primed_start_serves_one_evaluation_and_no_later_one",
    ),
    (
        "analysis/minimum.py",
        "np.logspace(-12, -2, 6)",
        "np.logspace(+12, -2, 6)",
        "tests/analysis/test_analysis.py::test_an_eigenvalue_is_in_doubt_up_to_twice_what_the_gradient_may_change",
    ),
    (
        "objective/derivatives.py",
        "k = network.sizes[-1]",
        "k = network.sizes[0]",
        "tests/objective/test_derivatives.py::test_layers_make_the_rows_of_the_scaled_jacobian",
    ),
    (
        "objective/derivatives.py",
        '"weight": matrix[:, :-1]',
        '"weight": matrix[:, :+1]',
        "tests/objective/test_derivatives.py::test_a_vector_is_cut_into_layers_and_put_together_again",
    ),
    (
        "solvers/chebyshev.py",
        "old.tries + 1",
        "old.tries - 1",
        "tests/solvers/test_chebyshev.py::test_every_attempt_that_fails_is_counted_with_its_stages",
    ),
    (
        "solvers/quasi_newton.py",
        "fresh = 1.0 / xp",
        "fresh = 1.0 * xp",
        "tests/solvers/test_quasi_newton.py::test_the_first_step_goes_down_the_gradient_and_is_at_most_one_long",
    ),
    (
        "solvers/rosenbrock_wanner.py",
        "self.h0 or 0.0",
        "self.h0 or 1.0",
        "tests/solvers/test_rosenbrock.py::test_the_first_step_of_a_follower_is_in_the_units_of_its_flow",
    ),
    (
        "solvers/krylov.py",
        "shrunk, ~moved)",
        "shrunk, moved)",
        "tests/solvers/test_exponential.py::test_a_step_that_nothing_comes_of_is_one_rejection",
    ),
    (
        "solvers/krylov.py",
        "itemsize * (objective.size",
        "itemsize / (objective.size",
        "tests/solvers/test_exponential.py::test_a_basis_that_does_not_fit_is_refused_before_it_is_made",
    ),
    (
        "solvers/secants.py",
        '"recorded": moved | ~known',
        '"recorded": moved | known',
        "tests/solvers/test_exponential.py::test_a_row_is_a_step_and_not_a_trial_inside_a_sweep",
    ),
    (
        "solvers/_combination.py",
        'len(rows["steps"]) > 0 and',
        'len(rows["steps"]) < 0 and',
        "tests/solvers/test_auto.py::test_a_method_that_was_stuck_may_go_on_once_another_has_moved",
    ),
    (
        "objective/derivatives.py",
        "lambda part: part.reshape(-1, *part.shape[2:]), stacked)",
        "lambda part: part.reshape(-0, *part.shape[2:]), stacked)",
        "tests/curvature/test_rows.py::test_rows_of_equations",
    ),
    (
        "curvature/secant.py",
        "direction = (g / xp.where(norm > 0, norm, 1.0))",
        "direction = (g / xp.where(norm > 1, norm, 1.0))",
        "tests/curvature/test_secant.py::test_the_product_is_linear",
    ),
    (
        "analysis/stiffness.py",
        "ratio=largest / float(positive[0])",
        "ratio=largest * float(positive[0])",
        "tests/analysis/test_analysis.py::test_the_stiffness_ratio_has_no_unit",
    ),
    (
        "solvers/_own.py",
        '"order": 1.0',
        '"order": 2.0',
        "tests/solvers/test_rosenbrock.py::test_the_trace_tells_the_order",
    ),
]
OPERATORS = [
    f"core/ReplaceBinaryOperator_{change}"
    for change in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "BitAnd_BitOr", "BitOr_BitAnd")
] + [f"core/ReplaceComparisonOperator_{change}" for change in ("Lt_Gt", "Gt_Lt", "LtE_GtE", "GtE_LtE", "Eq_NotEq")]
OPERATORS += ["core/ReplaceUnaryOperator_USub_UAdd", "core/ReplaceUnaryOperator_Delete_Invert"]
OPERATORS += ["core/ReplaceAndWithOr", "core/ReplaceOrWithAnd", "core/NumberReplacer"]


def places(folder: pathlib.Path, module: str) -> list[MutationSpec]:
    """All changes of a module that `OPERATORS` can make."""
    path = folder / "src" / "stiffgrad" / module
    tree, found = get_ast_from_path(path), []
    for name in OPERATORS:
        operator = get_operator(name)()
        nodes = ((node, *place) for node in ast_nodes(tree) for place in operator.mutation_positions(node))
        for number, (node, start, end) in enumerate(nodes):
            if not annotates(node):
                found.append(MutationSpec(path, name, number, start, end, {}, ASTQuery(node).get_definition_name()))
    return found


def annotates(node: Any) -> bool:
    """Whether a node of the syntax tree is part of a type."""
    while node.parent is not None:
        siblings = node.parent.children
        before = siblings[siblings.index(node) - 1] if siblings[0] is not node else None
        marked = before.value if before is not None and before.type == "operator" else ""
        if marked == "->" or (marked == ":" and node.parent.type in ("annassign", "tfpdef")):
            return True
        node = node.parent
    return False


def copied(folder: pathlib.Path) -> None:
    """What the tests need, where it may be changed; programs that are compiled already are taken along."""
    for name in ("src", "tests", "examples", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    if (ROOT / ".cache" / "stiffgrad").exists():
        shutil.copytree(ROOT / ".cache" / "stiffgrad", folder / ".cache" / "stiffgrad")


def revision() -> str:
    """Of the checkout."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def table(rows: list[dict[str, str]]) -> Table:
    """Killed and survived, by module."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in rows:
        counts[row["module"]][row["outcome"]] += 1
        counts["all"][row["outcome"]] += 1
    shown = Table("module", "changes tried", "noticed", "part", title="Changes of the core that the tests notice")
    for module in sorted(counts, key=lambda name: (name == "all", name)):
        # Tests that took too long notice an endless loop, but not on a busy machine: such a change counts for nothing.
        total = sum(counts[module].values()) - counts[module]["timeout"]
        killed = counts[module]["killed"] + counts[module]["incompetent"]
        shown.add_row(module, str(total), str(killed), f"{killed / max(total, 1):.0%}")
    return shown


def known(folder: pathlib.Path, console: Console, first: int) -> int:
    """Make the changes of `KNOWN` one at a time; how many their tests do not notice."""
    missed = 0
    for module, before, after, test in KNOWN[first:]:
        path = folder / "src" / "stiffgrad" / module
        text = path.read_text()
        if text.count(before) != 1:
            raise SystemExit(f"{module} does not hold {before!r} once: correct KNOWN in benchmarks/mutants.py")
        path.write_text(text.replace(before, after))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        path.write_text(text)
        noticed = ran.returncode == 1 and "FAILED" in ran.stdout  # not where the test is missing
        missed += not noticed
        console.print(f"{'noticed' if noticed else 'MISSED '}  {module}: {before}  ->  {after}", highlight=False)
    return missed


def main() -> None:
    """Draw, change, test, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=8, help="changes of each module")
    parser.add_argument("--module", action="append", choices=sorted(TESTS), help="default: all")
    parser.add_argument("--known", nargs="?", type=int, const=0, help="the changes of KNOWN instead, from this one on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600.0, help="for the tests of one change")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "mutants.jsonl")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    this = revision()
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    rows = [row for row in map(json.loads, lines) if row["revision"] == this]
    done = {(row["module"], row["operator"], row["occurrence"]) for row in rows}
    console = Console()
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        copied(folder)
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(folder / "src")
        if arguments.known is not None:
            raise SystemExit(known(folder, console, arguments.known))
        wanted = []
        for module in arguments.module or TESTS:
            found = places(folder, module)
            drawn = random.Random(f"{arguments.seed} {module}").sample(found, min(arguments.each, len(found)))
            wanted += [(module, place) for place in drawn]
        random.Random(arguments.seed).shuffle(wanted)
        for module, place in track(wanted, "changes", console=console):
            key = module, place.operator_name, place.occurrence
            if key in done:
                continue
            command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -p no:randomly {TESTS[module]}"
            result = mutate_and_test([place], command, arguments.seconds)
            row = dict(zip(("module", "operator", "occurrence"), key, strict=True))
            outcome = "timeout" if result.output == "timeout" else str(result.test_outcome.value)
            row |= {"revision": this, "outcome": outcome, "in": str(place.definition_name)}
            failed = [line for line in (result.output or "").splitlines() if line.startswith(("FAILED", "ERROR"))]
            row["by"] = "".join(failed[:1])  # a test with a clock may fail by itself on a busy machine
            row["change"] = "\n".join(line for line in str(result.diff).splitlines() if line[:1] in "+-")
            rows.append(row)
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if row["outcome"] == "survived":
                console.print(f"[bold]{module}[/], in {row['in']}:\n{row['change']}\n", highlight=False)
    console.print(table(rows))


if __name__ == "__main__":
    main()
