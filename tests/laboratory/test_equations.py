"""The equations of the registry: references meet them; those by quadrature and in Fourier space are checked."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from stiffgrad import Objective
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.problems import EquationProblem, equations
from stiffgrad.objective.terms import Term
from stiffgrad.pde._numpy import WithNumPy

EQUATIONS = [name for name in problems.names() if isinstance(problems.get(name), EquationProblem)]
NUMERICAL = ("burgers", "allen-cahn")
SIZES = {"poisson2d": 257, "heat1d": 257, "poisson5d": 449, "poisson5d-wide": 10_065, "helmholtz2d": 2_971,
         "burgers": 941, "allen-cahn": 2_011, "kovasznay": 7_953}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in EQUATIONS if name not in NUMERICAL and "-" not in name])
def test_the_reference_meets_every_condition(name: str) -> None:
    equation = problems.get(name).equation
    exact = WithNumPy(lambda params, z: equation.reference(z))
    few = tuple(dataclasses.replace(c, points=40) for c in equation.conditions)
    problem = dataclasses.replace(equation, conditions=few, hidden=(3,)).problem(0, balance=False)
    terms = [
        Term(dataclasses.replace(b.function, network=exact), b.samples, b.targets) for b in problem.objective.blocks
    ]
    objective = Objective({"none": np.zeros(1)}, terms)
    scale = float(problem.objective.value(problem.objective.w0))
    assert float(objective.value(objective.w0)) < 1e-22 * max(scale, 1.0)


@pytest.mark.parametrize("name", EQUATIONS)
def test_networks_have_the_published_sizes(name: str) -> None:
    equation = problems.get(name).equation
    few = tuple(dataclasses.replace(c, points=40) for c in equation.conditions)
    first, other = (dataclasses.replace(equation, conditions=few).problem(seed, balance=False) for seed in (0, 1))
    assert first.objective.size == SIZES.get(name, 81_201)
    assert not np.array_equal(first.objective.w0, other.objective.w0)
    for one, two in zip(first.points.values(), other.points.values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_burgers_by_quadrature() -> None:
    nu = 0.05
    for x, t in ((0.3, 0.2), (-0.7, 0.9), (0.02, 0.5)):

        def weighed(eta, power, x=x, t=t):
            y = x - eta
            kernel = np.exp(-np.cos(np.pi * y) / (2 * np.pi * nu) - eta**2 / (4 * nu * t))
            return kernel * np.sin(np.pi * y) ** power

        ratio = quad(weighed, -4, 4, (1,), epsabs=1e-13)[0] / quad(weighed, -4, 4, (0,), epsabs=1e-13)[0]
        assert equations.cole_hopf((x, t), nu) == pytest.approx(-ratio, rel=1e-8)
    x = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(equations.cole_hopf((x, 0 * x)), -np.sin(np.pi * x), atol=1e-12)
    sharp = [equations.cole_hopf((np.linspace(-1, 1, 50), np.full(50, 0.9)), nodes=nodes) for nodes in (150, 200)]
    np.testing.assert_allclose(*sharp, atol=1e-9)


def test_allen_cahn_converges_at_fourth_order() -> None:
    ends = [equations.allen_cahn_fourier(128, steps)[-1] for steps in (99, 198, 396)]
    ratio = np.abs(ends[0] - ends[2]).max() / np.abs(ends[1] - ends[2]).max()
    assert 12 < ratio < 22  # (1 - 1/256) / (1/16 - 1/256) = 17 for an error of order 4
    rows = equations.allen_cahn_fourier(128, 198)
    x = -1 + 2 * np.arange(128) / 128
    np.testing.assert_allclose(rows[0], x**2 * np.cos(np.pi * x), atol=1e-12)
    assert np.abs(rows[-1]).max() < 1.0
    reference = problems.get("allen-cahn").equation.reference
    np.testing.assert_allclose(
        reference((x[::16], np.full(8, 1.0)))[0], equations.allen_cahn_fourier()[-1][0], atol=1e-10
    )


def test_scores_are_digits_of_the_error() -> None:
    problem = problems.get("poisson2d")
    objective = problem.objective(0)
    zero = objective.unflatten(np.zeros(objective.size))
    # The error of u = 0 is the root mean square of sin sin on the grid of 100 points a side: 1/2 less the edge.
    line = np.linspace(0, 1, 100)
    assert problem.score(zero) == pytest.approx(-np.log10(np.mean(np.sin(np.pi * line) ** 2)))
    assert problem.score(zero, "test") is None
    assert "RMS" in problem.score_name
    with pytest.raises(ValueError, match="part='validation'"):
        problem.score(zero, "validation")


def test_a_field_is_what_was_found_beside_the_solution():
    problem = problems.get("heat1d")
    start = problem.equation.problem(0, balance=False)
    field = problem.field(start.params)
    exact, found = np.array(field["exact"]), np.array(field["found"])
    x, t = (np.linspace(0, 1, 100)[::3] for _ in range(2))
    np.testing.assert_allclose(exact, np.exp(-(np.pi**2) * t / 4) * np.sin(np.pi * x)[:, None], atol=1e-12)
    assert found[3, 5] == pytest.approx(float(start.evaluate(start.params, np.array([x[3], t[5]]))))
    assert problems.get("poisson5d").field(None) is None  # no plane
