"""Error bars of fitted parameters, from the Gauss-Newton matrix.

With residuals r_i of equal, independent noise the covariance of a least-squares estimate is s^2 (J'J)^-1, where
s^2 = |r|^2 / (rows - parameters) (Seber and Wild, Nonlinear Regression, 1989, section 2.1).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.objective import Objective
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.solution import Solution

STIFF = 1e8  # equations that hold exactly weigh so many times the observations, which are noisy
CUT = 1e-12  # eigenvalues below this part of the largest one are directions that nothing determines


@dataclasses.dataclass(frozen=True)
class ErrorBars:
    """Estimates with their standard errors.

    Attributes
    ----------
    estimate, standard_error : pytree
        Of the parameters' structure; the error is infinite where nothing determines a parameter.
    covariance : array of shape (p, p)
        Of the flat parameters.
    noise : float
        The estimated standard deviation of the observations' noise.
    """

    estimate: Any
    standard_error: Any
    covariance: NDArray[np.float64] = dataclasses.field(repr=False)
    noise: float

    def __str__(self) -> str:
        if not isinstance(self.estimate, dict):
            return f"{self.estimate} +- {self.standard_error} (noise {self.noise:.3g})"
        lines = [f"{name} = {value} +- {self.standard_error[name]}" for name, value in self.estimate.items()]
        return "\n".join([*lines, f"noise {self.noise:.3g}"])


@float64
def error_bars(found: Solution | Objective, params: Params | None = None) -> ErrorBars:
    """Standard errors of the unknowns of an inverse problem, or of all parameters of a least-squares objective.

    Parameters
    ----------
    found : pde.Solution or Objective
        A solution of a problem with unknowns and observations; or an objective of squares with one term, without a
        network, as `stiffgrad.least_squares` makes it.
    params : pytree, optional
        Where, for an objective: at its minimum.

    Returns
    -------
    ErrorBars
        The standard errors, and what they stand on.

    Notes
    -----
    Of an inverse problem the observations are taken as noisy, all with the same standard deviation, and everything else
    as exact, or as exact as it holds: its residuals enter J with a weight of the noise's variance over their own mean
    square, at most 1e8. More would take what the network cannot follow for knowledge of the unknowns. The covariance of
    the unknowns is their block of the inverse over network and unknowns together, so whatever the network could do
    instead counts; its weights are held by a Gaussian prior as wide as they are large, since linearisation does not
    reach further. The noise is estimated from the observations' residuals over their number less that of the unknowns.

    Raises
    ------
    ValueError, TypeError
        Where there are no unknowns or observations, fewer observations than parameters, or another loss.

    Examples
    --------
    >>> from stiffgrad.objective import least_squares
    >>> x = np.arange(6.0)
    >>> y = 2 * x + np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    >>> line = least_squares(lambda p, s: p["k"] * s[0] - s[1], {"k": 0.0}, np.column_stack([x, y]))
    >>> bars = error_bars(line, {"k": float(x @ y / (x @ x))})
    >>> round(float(bars.standard_error["k"]), 4)  # sqrt(|r|^2 / 5 / |x|^2)
    0.1457
    """
    if isinstance(found, Solution):
        return _of_unknowns(found)
    if not isinstance(found, Objective):
        raise TypeError(f"error_bars takes a pde.Solution or an Objective with params, not {type(found).__name__}")
    if params is None:
        raise TypeError("error_bars(objective, params): params are missing; give those at the minimum")
    if len(found.blocks) != 1 or found.blocks[0].loss.name != "squared" or bool(np.any(np.asarray(found.decay) > 0)):
        raise ValueError("error_bars of an objective needs one term with the loss 'squared' and no weight decay")
    w = found.flatten(params)
    rows, size = found.rows, found.size
    if rows <= size:
        raise ValueError(f"{rows} residuals cannot tell the noise of {size} parameters: more observations are needed")
    # E = mean of 1/2 r^2 for equal sample weights, so N G = J'J.
    variance = 2.0 * found.samples * float(found.value(w)) / (rows - size)
    covariance = variance * _inverse(found.samples * np.asarray(found.gauss_newton(w)))
    estimate, error = (found.unflatten(np.asarray(v)) for v in (w, _deviation(covariance)))
    return ErrorBars(estimate, error, covariance, float(np.sqrt(variance)))


def _of_unknowns(solution: Solution) -> ErrorBars:
    problem, w = solution.problem, np.asarray(solution.run.w)
    if not problem.inverse:
        raise ValueError("error_bars needs a problem with unknowns: pde.Problem(..., unknowns={'k': 1.0})")
    observed = {name for name, condition in problem.conditions.items() if condition.kind == "observations"}
    if not observed:
        raise ValueError("error_bars needs observations: without noise there is nothing to be uncertain about")
    unknowns = solution.unknowns
    wanted = _of_the_unknowns(problem)
    residual, jacobian, mask = _unweighted(problem.objective, w, list(problem.weights), observed)
    size, count = int(wanted.sum()), int(mask.sum())
    if count <= size:
        raise ValueError(f"{count} observations cannot tell the noise of {size} unknowns: more are needed")
    variance = float(np.sum(residual[mask] ** 2)) / (count - size)
    exact = [(residual[~mask], jacobian[~mask])]
    if problem.held_out is not None:  # more points, so that the network cannot evade the equation between them
        exact.append(_unweighted(problem.held_out, w, [*problem.interiors, *problem.faces], set())[:2])
    left, slopes = (np.concatenate(parts) for parts in zip(*exact, strict=True))
    stiff = min(STIFF, variance / np.mean(left**2)) if np.any(left) else STIFF
    rows = np.concatenate([jacobian[mask], np.sqrt(stiff) * slopes])
    ridge = np.sqrt(variance / np.mean(w[~wanted] ** 2)) * np.eye(int((~wanted).sum()))
    basis = np.linalg.qr(np.concatenate([rows[:, ~wanted], ridge]))[0]
    columns = np.concatenate([rows[:, wanted], np.zeros((len(ridge), size))])
    rest = columns - basis @ (basis.T @ columns)
    covariance = variance * _inverse(rest.T @ rest)
    flat = np.full(len(w), np.nan)
    flat[wanted] = _deviation(covariance)
    errors = problem.objective.unflatten(flat)["unknowns"]
    return ErrorBars(
        unknowns, {name: np.asarray(errors[name])[()] for name in unknowns}, covariance, float(variance**0.5)
    )


def _of_the_unknowns(problem: Problem) -> NDArray[np.bool_]:
    """Which of the flat parameters are unknowns."""
    network, unknowns = problem.params["network"], problem.params["unknowns"]
    zero = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), network)
    one = jax.tree.map(lambda leaf: np.ones(np.shape(leaf)), unknowns)
    return np.asarray(problem.objective.flatten({"network": zero, "unknowns": one})) > 0


def _unweighted(objective: Objective, w: Any, names: list[str], observed: set[str]) -> Any:
    """Residuals and Jacobian with the weights of terms and the means taken out, and which rows are observations."""
    scale, mask = [], []
    for name, block in zip(names, objective.blocks, strict=True):
        coefficients = np.asarray(block.coefficients).ravel()
        width = block.targets.size // coefficients.size
        scale.append(np.repeat(coefficients, width))
        mask.append(np.full(coefficients.size * width, name in observed))
    root = np.sqrt(np.concatenate(scale))
    kept = root > 0  # padding has no meaning
    rows, jacobian = np.asarray(objective.residual(w)), np.asarray(objective.scaled_jacobian(w))
    return rows[kept] / root[kept], jacobian[kept] / root[kept, None], np.concatenate(mask)[kept]


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of a positive semidefinite matrix; infinite variance along what it does not determine."""
    size = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    units = np.where(size > 0, size, 1.0)  # parameters in their own units, so that rounding treats all alike
    values, vectors = np.linalg.eigh(matrix / np.outer(units, units))
    known = values > CUT * max(values.max(), 0.0)
    inverse = (vectors[:, known] / values[known]) @ vectors[:, known].T / np.outer(units, units)
    free = np.sum(vectors[:, ~known] ** 2, axis=1) > np.sqrt(CUT)
    inverse[free, free] = np.inf
    return inverse


def _deviation(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.diag(covariance))
