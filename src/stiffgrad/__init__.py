"""Train neural networks by solving stiff ODEs, with no learning rate."""

from stiffgrad._config import configure

configure()

from stiffgrad import solvers  # noqa: E402
from stiffgrad._compare import Comparison, compare  # noqa: E402
from stiffgrad._types import Outcome, SolveError  # noqa: E402
from stiffgrad.analysis import minimum, same_minimum, spectrum, stiffness, stiffness_along  # noqa: E402
from stiffgrad.objective import Objective, Term, least_squares, minimise, supervised  # noqa: E402
from stiffgrad.objective.networks import MLP, mlp  # noqa: E402
from stiffgrad.run.checkpoint import Checkpoint  # noqa: E402
from stiffgrad.run.driver import Step, Until, solve  # noqa: E402
from stiffgrad.run.multistart import multistart  # noqa: E402
from stiffgrad.run.trace import FlowPath, Solution, Statistics, Trace, load  # noqa: E402
from stiffgrad.solvers._ode import ToleranceSchedule  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "Checkpoint",
    "Comparison",
    "FlowPath",
    "Objective",
    "Outcome",
    "Solution",
    "SolveError",
    "Statistics",
    "Step",
    "Term",
    "ToleranceSchedule",
    "Trace",
    "Until",
    "compare",
    "least_squares",
    "load",
    "minimise",
    "minimum",
    "mlp",
    "multistart",
    "same_minimum",
    "solve",
    "solvers",
    "spectrum",
    "stiffness",
    "stiffness_along",
    "supervised",
]
