"""What `pde.solve` returns: the solution, how it was found, and how far to trust it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from stiffgrad._types import Outcome, Params
from stiffgrad.pde.measures import Errors, errors, grid_points, reference_values
from stiffgrad.pde.points import Points
from stiffgrad.pde.problem import Problem
from stiffgrad.run.trace import Solution as Run


@dataclasses.dataclass(frozen=True)
class Solution:
    """The result of `pde.solve`.

    Attributes
    ----------
    problem : Problem
        What was solved; `problem.weights` tells the weights of the terms.
    run : stiffgrad.Solution
        The integration: counts, trace, seconds. Its trace's column `validation` is the energy of equations and faces
        on points that were not trained on, looked at after each chunk of steps and NaN in between; `points` counts the
        sets of points, stages included, from 0.
    residuals : dict of str to float
        Root mean square of what each condition leaves, on the points of the last objective.
    held_out : dict of str to float
        The same for interior equations and for conditions on faces, on points never trained on.
    error_estimate : float
        The relative L2 error as the run lets one expect it, and as the equations do at its end: see
        `stiffgrad.pde.confidence`, `stiffgrad.pde.defect` and docs/pinns.md, which says how it compared with true ones.
        Without constants that nothing determines, such as that of a pressure. NaN where the run does not tell: with
        observations whose noise stays, where the residuals hardly fell, or where the conditions do not determine a
        solution.
    verdict : str
        Whether the equation is solved, holds between the points as it does on them, and can be trusted to 1e-5, in a
        few sentences.
    """

    problem: Problem
    run: Run
    residuals: Mapping[str, float]
    held_out: Mapping[str, float]
    error_estimate: float
    verdict: str

    @property
    def params(self) -> Params:
        """The parameters found."""
        return self.run.params

    @property
    def model(self) -> Any:
        """The trained model of Equinox, Flax or PyTorch, where the problem was given one; a new one each time."""
        if self.problem.restore is None:
            raise AttributeError("the problem was not given a model: its network is solution.problem.network")
        return self.problem.restore(self.problem.of_network(self.params))

    @property
    def unknowns(self) -> dict[str, Any]:
        """The coefficients found, by name; empty where the problem has none."""
        found = self.params["unknowns"] if self.problem.inverse else {}
        return {name: float(value) if np.ndim(value) == 0 else np.asarray(value) for name, value in found.items()}

    @property
    def outcome(self) -> Outcome:
        """How the run ended."""
        return self.run.outcome

    @property
    def loss(self) -> float:
        """The objective at the end."""
        return self.run.loss

    def u(self, points: Any) -> np.ndarray:
        """The solution at points (N, d), or at one (d,): of shape (N,), or (N, k) for k components.

        A grid (..., d) gives (...) or (..., k): `solution.u(np.stack(np.meshgrid(x, t), -1))`.
        `pde.derivative(solution.u, points, 0)` and the other operators differentiate it.
        """
        return self.problem.evaluate(self.params, points)

    def errors(self, reference: Any, points: Points | None = None) -> Errors:
        """The errors against a reference, a function of one point, or its values at `points`.

        By default on a fixed grid of about 10,000 points (Sobol points from four dimensions on).
        """
        if points is None:
            if not callable(reference):
                raise ValueError("reference is an array: give the points where these are its values, as points=...")
            points = grid_points(self.problem.domain)
        return errors(self.u(points), reference_values(reference, np.asarray(points, float)))

    def __repr__(self) -> str:
        lines = [repr(self.run)]
        for name, value in self.residuals.items():
            beside = f", held out {self.held_out[name]:.2e}" if name in self.held_out else ""
            lines.append(f"  residual       {name} {value:.2e}{beside} (weight {self.problem.weights[name]:.3g})")
        lines += [f"  unknown        {name} = {value}" for name, value in self.unknowns.items()]
        return "\n".join([*lines, f"  verdict        {self.verdict}"])
