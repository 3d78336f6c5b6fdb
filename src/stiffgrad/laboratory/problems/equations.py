"""Differential equations of the literature on physics-informed networks, each with its reference solution.

The networks and points are those of the papers named in docs/pinns.md; all terms weigh 1, so that the loss is the same
quantity for every start and method.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad import pde
from stiffgrad._types import Params
from stiffgrad.laboratory.problems.base import PARTS, Problem
from stiffgrad.objective import Objective

Values = NDArray[np.float64]
TWO_PI = 2 * np.pi


@dataclasses.dataclass(frozen=True)
class Equation:
    """A domain, its conditions, and the network that is used on them in the literature.

    Attributes
    ----------
    domain, conditions
        As for `pde.Problem`.
    hidden : tuple of int
        Units of the hidden layers.
    reference : callable
        The solution: a function of the coordinates z, where z[i] is a number or an array.
    outputs : int
        Components of the solution.
    options : dict
        Of `pde.network`: periodic coordinates, a hard constraint.
    measure : "rms" or "relative_l2"
        In which error the literature reports.
    components : int, optional
        How many of the components count in it; by default all.
    """

    domain: tuple[tuple[float, float], ...]
    conditions: tuple[pde.Condition, ...]
    hidden: tuple[int, ...]
    reference: Callable[[Any], Any]
    outputs: int = 1
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    measure: str = "relative_l2"
    components: int | None = None

    def problem(self, seed: int, balance: bool = True) -> pde.Problem:
        """The problem with its start drawn from `seed`; the points are the same for every seed."""
        network = pde.network(self.domain, self.hidden, self.outputs, seed=seed, **self.options)
        return pde.Problem(self.domain, self.conditions, network, balance=balance)

    def errors(self, problem: pde.Problem, params: Params) -> pde.Errors:
        """Errors on a fixed grid."""
        points, values = self._grid
        found = problem.evaluate(params, points)
        return pde.errors(found if self.components is None else found[:, : self.components], values)

    def field(self, problem: pde.Problem, params: Params) -> dict[str, Any] | None:
        """The solution and what was found, first components, on every third line of the grid; in two dimensions."""
        if len(self.domain) != 2:
            return None
        points, values = self._grid
        found = problem.evaluate(params, points)
        side = round(len(points) ** 0.5)
        planes = (first.reshape(len(points), -1)[:, 0].reshape(side, side)[::3, ::3] for first in (found, values))
        names = zip(("found", "exact"), planes, strict=True)
        return {"sides": [list(pair) for pair in self.domain]} | {name: plane.tolist() for name, plane in names}

    @functools.cached_property
    def _grid(self) -> tuple[Values, Values]:
        points = pde.grid_points(self.domain)
        values = self.reference(points.T)
        values = np.stack(values[: self.components], axis=1) if isinstance(values, list) else np.asarray(values)
        return points, values


@dataclasses.dataclass(frozen=True)
class EquationProblem(Problem):
    """A differential equation; its score is the number of correct digits, -log10 of the error, on a fixed grid."""

    load: Callable[[], Equation]

    @property
    def equation(self) -> Equation:
        """Domain, conditions and reference."""
        return _loaded(self.load)

    @property
    def score_name(self) -> str:
        return "digits of the RMS error" if self.equation.measure == "rms" else "digits of the relative L2 error"

    def objective(self, seed: int) -> Objective:
        return self.equation.problem(seed, balance=False).objective

    def score(self, params: Params, part: str = "train") -> float | None:
        if part not in PARTS:
            raise ValueError(f"part={part!r} must be one of {', '.join(PARTS)}")
        if part != "train":  # nothing is held out: the grid is not trained on
            return None
        error = getattr(self.equation.errors(_evaluator(self.load), params), self.equation.measure)
        return -float(np.log10(error)) if np.isfinite(error) and error > 0 else None

    def field(self, params: Params) -> dict[str, Any] | None:
        return self.equation.field(_evaluator(self.load), params)


@functools.cache
def _loaded(load: Callable[[], Equation]) -> Equation:
    return load()


@functools.cache
def _evaluator(load: Callable[[], Equation]) -> pde.Problem:
    return _loaded(load).problem(0, balance=False)


def poisson2d() -> Equation:
    """-lap u = 2 pi^2 sin(pi x) sin(pi y) on the unit square, 0 on its edge (Mueller and Zeinhofer 2023)."""

    def exact(z: Any) -> Any:
        return np.sin(np.pi * z[0]) * np.sin(np.pi * z[1])

    def equation(u: Any, z: Any) -> Any:
        return pde.laplacian(u, z) + 2 * np.pi**2 * exact(z)

    square = ((0.0, 1.0),) * 2
    conditions = (pde.interior(equation, 900), pde.boundary(0.0, 120))
    return Equation(square, conditions, (64,), exact, measure="rms")


def heat1d() -> Equation:
    """u_t = u_xx / 4 on the unit square, sin(pi x) at first (Mueller and Zeinhofer 2023)."""

    def exact(z: Any) -> Any:
        return np.exp(-(np.pi**2) * z[1] / 4) * np.sin(np.pi * z[0])

    def equation(u: Any, z: Any) -> Any:
        return pde.derivative(u, z, 1) - 0.25 * pde.derivative(u, z, 0, 0)

    start = pde.initial(lambda z: np.sin(np.pi * z[0]), 40)
    square = ((0.0, 1.0),) * 2
    return Equation(square, (pde.interior(equation, 900), pde.boundary(0.0, 80), start), (64,), exact, measure="rms")


def poisson5d(hidden: tuple[int, ...] = (64,)) -> Equation:
    """-lap u = pi^2 sum cos(pi x_i) on the unit cube of five dimensions (Mueller and Zeinhofer 2023)."""

    def exact(z: Any) -> Any:
        return sum(np.cos(np.pi * z[i]) for i in range(5))

    def equation(u: Any, z: Any) -> Any:
        return pde.laplacian(u, z) + np.pi**2 * exact(z)

    conditions = (pde.interior(equation, 3000), pde.boundary(lambda z: exact(z), 500))
    return Equation(((0.0, 1.0),) * 5, conditions, hidden, exact, measure="rms")


def poisson5d_wide() -> Equation:
    """The same with 10,065 weights."""
    return poisson5d((64, 64, 48, 48))


def helmholtz2d() -> Equation:
    """u_xx + u_yy + u = q on [-1, 1]^2 with u = sin(pi x) sin(4 pi y), periodic."""

    def exact(z: Any) -> Any:
        return np.sin(np.pi * z[0]) * np.sin(4 * np.pi * z[1])

    def equation(u: Any, z: Any) -> Any:
        return pde.laplacian(u, z) + u(z) - (1 - np.pi**2 - (4 * np.pi) ** 2) * exact(z)

    square = ((-1.0, 1.0),) * 2
    return Equation(square, (pde.interior(equation, 10_000),), (30,) * 4, exact, options={"periodic": [0, 1]})


VISCOSITY = 0.01 / np.pi


def burgers() -> Equation:
    """u_t + u u_x = nu u_xx with nu = 0.01 / pi and -sin(pi x) at first, met exactly; periodic inputs."""

    def equation(u: Any, z: Any) -> Any:
        return (
            pde.derivative(u, z, 1) + u(z) * pde.derivative(u, z, 0) - VISCOSITY * pde.derivative(u, z, 0, 0)
        )  # fmt: skip

    options = {"periodic": [0], "transform": lambda z, n: -np.sin(np.pi * z[0]) + z[1] * n}
    box = ((-1.0, 1.0), (0.0, 1.0))
    return Equation(box, (pde.interior(equation, 4096),), (20,) * 3, cole_hopf, options=options)


def cole_hopf(z: Any, viscosity: float = VISCOSITY, nodes: int = 200) -> Values:
    """Burgers' solution from -sin(pi x) by Gauss and Hermite's quadrature of the Cole-Hopf integral.

    Source: Basdevant et al. (1986), Computers & Fluids 14, equation 5.
    """
    x, t = np.broadcast_arrays(np.asarray(z[0], float), np.asarray(z[1], float))
    roots, weights = np.polynomial.hermite.hermgauss(nodes)
    y = x[..., None] - 2 * np.sqrt(viscosity * t)[..., None] * roots
    exponent = -np.cos(np.pi * y) / (TWO_PI * viscosity)
    f = weights * np.exp(exponent - exponent.max(axis=-1, keepdims=True))
    return np.asarray(-np.sum(f * np.sin(np.pi * y), axis=-1) / np.sum(f, axis=-1))


RATHORE = (200,) * 3


def convection(points: int = 10_000) -> Equation:
    """u_t + 40 u_x = 0 on [0, 2 pi] x [0, 1], sin x at first, periodic (Rathore et al. 2024)."""

    def equation(u: Any, z: Any) -> Any:
        return pde.derivative(u, z, 1) + 40 * pde.derivative(u, z, 0)

    conditions = (
        pde.interior(equation, points),
        pde.boundary(_periodic, 101, faces=[(0, 0.0)]),
        pde.initial(lambda z: np.sin(z[0]), 257),
    )
    return Equation(((0.0, TWO_PI), (0.0, 1.0)), conditions, RATHORE, lambda z: np.sin(z[0] - 40 * z[1]))


def _periodic(u: Any, z: Any) -> Any:
    return u(z) - u(z + np.array([TWO_PI, 0.0]))


def reaction(points: int = 10_000) -> Equation:
    """u_t = 5 u (1 - u) on [0, 2 pi] x [0, 1], a Gaussian at first, periodic (Rathore et al. 2024)."""

    def start(z: Any) -> Any:
        return np.exp(-((z[0] - np.pi) ** 2) / (2 * (np.pi / 4) ** 2))

    def exact(z: Any) -> Any:
        grown = start(z) * np.exp(5 * z[1])
        return grown / (grown + 1 - start(z))

    def equation(u: Any, z: Any) -> Any:
        return pde.derivative(u, z, 1) - 5 * u(z) * (1 - u(z))

    conditions = (
        pde.interior(equation, points),
        pde.boundary(_periodic, 101, faces=[(0, 0.0)]),
        pde.initial(lambda z: start(z), 257),
    )
    return Equation(((0.0, TWO_PI), (0.0, 1.0)), conditions, RATHORE, exact)


def wave(points: int = 10_000) -> Equation:
    """u_tt = 4 u_xx on the unit square, two standing waves, 0 at both ends (Rathore et al. 2024)."""

    def exact(z: Any) -> Any:
        slow = np.sin(np.pi * z[0]) * np.cos(2 * np.pi * z[1])
        return slow + 0.5 * np.sin(5 * np.pi * z[0]) * np.cos(10 * np.pi * z[1])

    def equation(u: Any, z: Any) -> Any:
        return pde.derivative(u, z, 1, 1) - 4 * pde.derivative(u, z, 0, 0)

    def start(u: Any, z: Any) -> Any:
        return [u(z) - np.sin(np.pi * z[0]) - 0.5 * np.sin(5 * np.pi * z[0]), pde.derivative(u, z, 1)]

    conditions = (pde.interior(equation, points), pde.boundary(0.0, 202), pde.initial(start, 257))
    return Equation(((0.0, 1.0),) * 2, conditions, RATHORE, exact)


def convection_few() -> Equation:
    """The same on 400 inner points."""
    return convection(400)


def reaction_few() -> Equation:
    """The same on 256 inner points."""
    return reaction(256)


def wave_few() -> Equation:
    """The same on 144 inner points."""
    return wave(144)


def allen_cahn() -> Equation:
    """u_t = 1e-4 u_xx + 5 u - 5 u^3 on [-1, 1] x [0, 1], x^2 cos(pi x) at first, met exactly; periodic inputs."""

    def start(z: Any) -> Any:
        return z[0] ** 2 * np.cos(np.pi * z[0])

    def equation(u: Any, z: Any) -> Any:
        bend = 1e-4 * pde.derivative(u, z, 0, 0)
        return pde.derivative(u, z, 1) - bend - 5 * u(z) + 5 * u(z) ** 3

    def reference(z: Any) -> Values:
        times = np.linspace(0.0, 1.0, 100)
        table = np.fft.fft(allen_cahn_fourier(), axis=1)
        steps = np.rint(np.asarray(z[1]) * (len(times) - 1)).astype(int)
        if not np.allclose(times[steps], z[1]):
            raise ValueError("the reference of allen-cahn is known at multiples of 1/99 of time only")
        modes = np.fft.fftfreq(table.shape[1], 1 / table.shape[1])
        values = np.empty(np.shape(z[0]))
        for step in np.unique(steps):  # the trigonometric interpolant, evaluated where it is asked for
            here = steps == step
            phases = np.exp(1j * np.pi * np.outer(np.asarray(z[0])[here] + 1.0, modes))
            values[here] = (phases @ table[step]).real / table.shape[1]
        return values

    options = {"periodic": [0], "transform": lambda z, n: start(z) + z[1] * n}
    box = ((-1.0, 1.0), (0.0, 1.0))
    return Equation(box, (pde.interior(equation, 8192),), (30,) * 3, reference, options=options)


def allen_cahn_fourier(modes: int = 512, steps: int = 396) -> Values:
    """Allen and Cahn's solution at 100 even times and even points of [-1, 1), by ETDRK4 in Fourier space.

    Source: Kassam and Trefethen (2005), SIAM J. Sci. Comput. 26, section 3, its coefficients by contour integrals.
    """
    h = 1.0 / steps
    x = -1.0 + 2.0 * np.arange(modes) / modes
    linear = 5.0 - 1e-4 * (np.pi * np.fft.fftfreq(modes, 1 / modes)) ** 2
    circle = np.exp(1j * np.pi * (np.arange(1, 33) - 0.5) / 32)
    lr = h * linear[:, None] + circle
    half, whole = np.exp(h * linear / 2), np.exp(h * linear)
    q = h * np.mean((np.exp(lr / 2) - 1) / lr, axis=1).real
    f1 = h * np.mean((-4 - lr + np.exp(lr) * (4 - 3 * lr + lr**2)) / lr**3, axis=1).real
    f2 = h * np.mean((2 + lr + np.exp(lr) * (-2 + lr)) / lr**3, axis=1).real
    f3 = h * np.mean((-4 - 3 * lr - lr**2 + np.exp(lr) * (4 - lr)) / lr**3, axis=1).real

    def nonlinear(v: Any) -> Any:
        return -5.0 * np.fft.fft(np.fft.ifft(v).real ** 3)

    v = np.fft.fft(x**2 * np.cos(np.pi * x))
    rows = [np.fft.ifft(v).real]
    for step in range(1, steps + 1):
        n = nonlinear(v)
        a = half * v + q * n
        na = nonlinear(a)
        nb = nonlinear(half * v + q * na)
        nc = nonlinear(half * a + q * (2 * nb - n))
        v = whole * v + f1 * n + 2 * f2 * (na + nb) + f3 * nc
        if step % (steps // 99) == 0:
            rows.append(np.fft.ifft(v).real)
    return np.stack(rows)


REYNOLDS = 40.0


def kovasznay() -> Equation:
    """Steady Navier-Stokes equations behind a grid at Re = 40, with Kovasznay's exact solution (1948)."""
    decay = REYNOLDS / 2 - np.sqrt(REYNOLDS**2 / 4 + 4 * np.pi**2)

    def exact(z: Any) -> Any:
        fall = np.exp(decay * z[0])
        u, v = 1 - fall * np.cos(TWO_PI * z[1]), decay / TWO_PI * fall * np.sin(TWO_PI * z[1])
        return [u, v, (1 - fall**2) / 2]

    def equation(w: Any, z: Any) -> Any:
        u, v, _ = w(z)
        u_x, v_x, p_x = pde.derivative(w, z, 0)
        u_y, v_y, p_y = pde.derivative(w, z, 1)
        u_bend, v_bend, _ = pde.laplacian(w, z)
        momentum = [u * u_x + v * u_y + p_x - u_bend / REYNOLDS, u * v_x + v * v_y + p_y - v_bend / REYNOLDS]
        return [*momentum, u_x + v_y]

    def walls(w: Any, z: Any) -> Any:
        return [found - known for found, known in zip(w(z), exact(z)[:2])]

    def outflow(w: Any, z: Any) -> Any:
        return w(z)[2] - exact(z)[2]

    conditions = (
        pde.interior(equation, 400),
        pde.boundary(walls, 100),
        pde.boundary(outflow, 25, faces=[(0, 1.0)], name="pressure"),
    )
    return Equation(((-0.5, 1.0), (-0.5, 1.5)), conditions, (50,) * 4, exact, outputs=3, components=2)
