"""How often solutions swing in time: dispersion relations that are known."""

import numpy as np
import pytest

from stiffgrad import pde
from stiffgrad.pde.pace import pace, waves

UNIT = [(0.0, 1.0), (0.0, 1.0)]
D = pde.derivative


def sharpness(equation, domain=UNIT, outputs=1, start=None, units=1000, **options):
    start = ([0.0] * outputs if outputs > 1 else 1.0) if start is None else start
    first = pde.initial(start, 9)
    problem = pde.Problem(domain, [pde.interior(equation, 16), first], [4], outputs=outputs, **options)
    terms = dict(problem.terms)
    starts = {"initial": (terms["initial"], first)}
    return pace([terms["interior"]], starts, problem.domain, problem.time, problem.scales, problem.params, units)


def found(equation, domain=UNIT, outputs=1, **options):
    """In time, where nothing is sharper in space."""
    in_space, in_time = sharpness(equation, domain, outputs, **options)
    assert in_space == 1.0
    return in_time


@pytest.mark.parametrize("speed", [-7.0, 9.0, 12.0])
def test_advection_swings_as_fast_as_it_moves(speed):
    """Of u_t + c u_x = 0 on the unit square |c| waves pass in time for one in space."""
    assert found(lambda u, z: D(u, z, 1) + speed * D(u, z, 0)) == pytest.approx(abs(speed))


def test_the_sides_of_the_domain_count():
    domain = [(0.0, 2 * np.pi), (1.0, 3.0)]  # 40 * 2 / (2 pi) = 12.7 waves, in steps of an eighth
    assert found(lambda u, z: D(u, z, 1) + 40 * D(u, z, 0), domain) == pytest.approx(12.73, abs=0.13)


def test_a_wave_equation_swings_both_ways():
    assert found(lambda u, z: D(u, z, 1, 1) - 64 * D(u, z, 0, 0)) == pytest.approx(8.0)


def test_the_components_of_a_system_swing_together():
    """Schroedinger's equation in two real parts: w = c k^2, c pi half waves in time for half a wave in space."""

    def equation(u, z):
        (a, b), (c, d) = D(u, z, 1), D(u, z, 0, 0)
        return [a + 2.4 * d, b - 2.4 * c]

    assert found(equation, outputs=2) == pytest.approx(2.4 * np.pi, abs=0.13)


def test_the_fastest_place_counts():
    assert 6.0 < found(lambda u, z: D(u, z, 1) + 9.0 * z[0] * D(u, z, 0)) <= 9.0


@pytest.mark.parametrize(
    "equation",
    [
        lambda u, z: D(u, z, 1) - 25.0 * D(u, z, 0, 0),  # decays
        lambda u, z: D(u, z, 1) + 30.0 * u(z),
        lambda u, z: D(u, z, 1) + 5.0 * D(u, z, 0),  # is followed by itself
        lambda u, z: D(u, z, 0, 0) + D(u, z, 1, 1) + np.nan * u(z),
    ],
    ids=["diffusion", "decay", "advection", "not finite"],
)
def test_what_does_not_swing_fast_asks_for_nothing(equation):
    assert found(equation) == 1.0


def test_a_start_is_made_sharper_in_time_only():
    """First units turn at the same points, over a time as much shorter as there are waves."""

    def advection(u, z):
        return D(u, z, 1) + 8.0 * D(u, z, 0)

    conditions = [pde.interior(advection, 16), pde.initial(1.0, 9)]
    network, plain = pde.network(UNIT, [40])
    problem = pde.Problem(UNIT, conditions, (network, plain))
    first, before = problem.params[0], plain[0]
    np.testing.assert_allclose(first["weight"], before["weight"] * [1.0, 8.0])
    turns = np.random.default_rng([0, 2])
    turns.normal(size=(40, 2))
    points = turns.uniform(-1.0, 1.0, (40, 2))
    np.testing.assert_allclose(np.sum(first["weight"] * points, axis=1), -first["bias"])
    np.testing.assert_array_equal(problem.params[1]["weight"], plain[1]["weight"])
    own = pde.Problem(UNIT, conditions, [40])
    np.testing.assert_array_equal(own.params[0]["weight"], first["weight"])


@pytest.mark.parametrize("options", [{"sharpness": (2.0, 1.0)}, {"activation": "sine"}])
def test_a_start_of_ones_own_is_left_alone(options):
    network, start = pde.network(UNIT, [8], **options)
    conditions = [pde.interior(lambda u, z: D(u, z, 1) + 8.0 * D(u, z, 0), 16), pde.initial(1.0, 9)]
    problem = pde.Problem(UNIT, conditions, (network, start))
    np.testing.assert_array_equal(problem.params[0]["weight"], start[0]["weight"])


def test_weights_that_were_trained_are_left_alone():
    network, start = pde.network(UNIT, [8])
    start[0] = {"weight": start[0]["weight"] + 1e-9, "bias": start[0]["bias"]}
    conditions = [pde.interior(lambda u, z: D(u, z, 1) + 8.0 * D(u, z, 0), 16), pde.initial(1.0, 9)]
    problem = pde.Problem(UNIT, conditions, (network, start))
    np.testing.assert_array_equal(problem.params[0]["weight"], start[0]["weight"])


def test_periodic_coordinates_keep_their_waves():
    network, plain = pde.network(UNIT, [8], periodic=[0])
    conditions = [pde.interior(lambda u, z: D(u, z, 1) + 8.0 * D(u, z, 0), 16), pde.initial(1.0, 9)]
    problem = pde.Problem(UNIT, conditions, (network, plain))
    np.testing.assert_allclose(problem.params[0]["weight"], plain[0]["weight"] * [8.0, 1.0, 1.0])


@pytest.mark.parametrize("sharpness", [0.0, (1.0, -2.0), (1.0, 2.0, 3.0), "sharp", np.inf])
def test_a_sharpness_that_is_none_is_named(sharpness):
    with pytest.raises(ValueError, match="sharpness="):
        pde.network(UNIT, [8], sharpness=sharpness)


@pytest.mark.parametrize("start", ["a function", "an equation"])
def test_short_waves_at_the_first_time_are_followed_in_space_and_time(start):
    """sin(8 pi x), four waves in space: where c = 2 they make eight in time, and one of them would make only two."""

    def value(z):
        return np.sin(8 * np.pi * z[0])

    def both(u, z):
        return [u(z) - value(z), D(u, z, 1)]

    def equation(u, z):
        return D(u, z, 1, 1) - 4.0 * D(u, z, 0, 0)

    start = value if start == "a function" else both
    np.testing.assert_allclose(sharpness(equation, start=start), [4.0, 8.0], atol=0.07)
    np.testing.assert_array_equal(sharpness(equation), [1.0, 1.0])
    np.testing.assert_array_equal(sharpness(equation, start=start, units=200), [1.0, 1.0])  # do not cover the domain
    slow = lambda u, z: D(u, z, 1, 1) - 0.25 * D(u, z, 0, 0)  # noqa: E731
    np.testing.assert_array_equal(sharpness(slow, start=start), [1.0, 1.0])


LINE = np.linspace(0.0, 1.0, 65)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.sin(np.pi * LINE) + 0.5 * np.sin(5 * np.pi * LINE), 2.5),
        (np.sin(np.pi * LINE) + 0.2 * np.sin(5 * np.pi * LINE), 0.5),  # holds 4% of the square
        (3.0 + np.cos(6 * np.pi * LINE), 3.0),
        (7.0 - 2.0 * LINE + np.sin(4 * np.pi * LINE), 2.0),
        (np.full(65, 7.0), 0.0),
        (1.0 + 5.0 * LINE, 0.0),
        (np.full(65, np.nan), 0.0),
    ],
)
def test_waves_that_hold_most_are_counted(values, expected):
    assert waves(np.stack([values, 2 * values])) == pytest.approx(expected, abs=0.5)
