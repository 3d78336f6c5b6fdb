"""What every solver is: options, a start and an advance. The driver owns stopping, showing and saving."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stiffgrad._memory import require
from stiffgrad._types import Outcome
from stiffgrad.flow import Flow
from stiffgrad.objective import Objective


class Limits(NamedTuple):
    """Where to stop, as plain numbers, so that a compiled loop can check them: -inf or inf where not asked for."""

    loss: float
    gradient_norm: float
    steps: float
    presentations: float
    rows: float = np.inf  # of a compiled solver, in one chunk: 1 where every point is looked at
    cost: float = np.inf  # of a compiled solver, in gradients: where a combination looks whether another does better
    pause: float = np.inf  # the same, at which a chunk ends once a frozen Jacobian has served


class Finished(Exception):
    """Raised by a solver that ends by itself: stationary, stalled, diverged or failed, with its reason."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Monitor(Protocol):
    """The driver's side of a run, as a solver sees it."""

    limits: Limits
    steps_only: bool  # compiled solvers must come back after every step

    @property
    def next_time(self) -> float:
        """The next flow time at which the weights are wanted exactly, inf if none is; for solvers of `follows_flow`."""
        ...

    def reach(self, w: Any) -> bool:
        """Take the weights at `next_time`, which then moves on. True: it is the end; report a step there."""
        ...

    def step(
        self,
        w: NDArray[np.float64],
        *,
        flow_time: float = np.nan,
        step_size: float = np.nan,
        order: float = np.nan,
        counts: Mapping[str, float] | None = None,
        **extra: float,
    ) -> bool:
        """Record one accepted step that ended at `w` (copied). True: the run must stop now.

        The loss and gradient norm come from the last evaluation that the step made through `Flow`; if that was not
        at `w` itself and a target is near, the driver evaluates there, so a stop is exact. `counts` are cumulative
        and named as in `Statistics`; what the flow counts (evaluations, products, presentations) and `steps` need
        not be given. `extra` become columns of the trace.
        """
        ...

    def chunk(self, w: Any, rows: Mapping[str, NDArray[np.float64]]) -> bool:
        """Record the rows of a compiled chunk of steps that ended at `w`. True: the run must stop now."""
        ...

    @property
    def look(self) -> float:
        """Steps after which a compiled chunk should end, whatever the clock says; inf where none is wanted."""
        ...

    def seconds_left(self) -> float:
        """Wall seconds until the budget ends (inf without one)."""
        ...

    def compiling(self) -> contextlib.AbstractContextManager[None]:
        """Inside, time counts as compilation and not as solving."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A solver's state that a file can hold: a run that goes on from it equals one that never stopped.

    A state without these methods starts afresh at the weights.
    """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that the next step needs, as arrays of numbers; empty before the first step."""
        ...

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from there, after `Solver.start`. Raises ValueError where they are not of this solver and problem."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A solver's state that holds what others wait for until the run has ended."""

    def close(self) -> None:
        """Give it back; more than once does no harm."""
        ...


@dataclasses.dataclass(frozen=True)
class Solver(abc.ABC):
    """A method with its options, as a frozen dataclass; `start` and `advance` hold its mathematics.

    Every class is abstract or final, and no concrete method is overridden.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    summary: ClassVar[str]  # one line for `stiffgrad solvers`
    source: ClassVar[str]  # the paper or code that defines the method
    exact_rows: ClassVar[bool] = False  # its rows begin with the start, and their losses and gradients are exact
    squares_only: ClassVar[bool] = False  # whether it minimises sums of squares and nothing else

    @property
    def follows_flow(self) -> bool:
        """Whether its steps follow the flow in time, so that weights at a given flow time mean something."""
        return False

    @abc.abstractmethod
    def start(self, flow: Flow, w: NDArray[np.float64]) -> Any:
        """Check options, compile everything, return the first state. Count no evaluation: this is compilation."""

    @abc.abstractmethod
    def advance(self, state: Any, monitor: Monitor) -> Any:
        """Take at least one step, report each accepted one to `monitor`, return the new state.

        A method that can only run as a whole (a library call with a callback) may report all its steps in one
        `advance`, and stops as soon as the monitor says so. Raise `Finished` to end the run.
        """

    def describe(self, state: Any = None) -> str:
        """What ran, for `Solution.solver`; `state` is the last one."""
        return getattr(state, "description", self.name)


def check_sum_of_squares(objective: Objective, name: str) -> None:
    """Raise ValueError where E is not a sum of squares."""
    if not objective.sum_of_squares:
        losses = ", ".join(block.loss.name for block in objective.blocks)
        raise ValueError(
            f"solver {name!r} minimises sums of squares only, and this objective has the loss {losses}; "
            "use loss='squared' or least_squares(...), or a solver such as 'lbfgs' or 'auto'"
        )


def require_matrices(
    objective: Objective, name: str, square: float = 0.0, tall: float = 0.0, products: float = 0.0
) -> None:
    """Raise MemoryError where so many arrays of (n, n), and of (m, n), do not fit into memory.

    Where one of them is made by many products at once, all their intermediate numbers are there together: so many times
    those of a gradient.
    """
    n, m = objective.size, max(objective.rows, objective.size)
    needed = n * (square * n + tall * m)
    if not any(block.chunked for block in objective.blocks):
        needed += products * objective.elements
    needed *= objective.w0.dtype.itemsize
    require(
        needed, f"solver {name!r}", "use solver='auto' or 'exponential', which forms no matrix where memory is short"
    )


def has_decay(objective: Objective) -> bool:
    """Whether any parameter has a weight decay, which adds rows to a sum of squares."""
    return bool(np.any(np.asarray(objective.decay) > 0))
