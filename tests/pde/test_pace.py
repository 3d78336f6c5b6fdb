"""How often solutions swing in time: dispersion relations that are known."""

import numpy as np
import pytest

from stiffgrad import pde
from stiffgrad.pde.pace import pace

UNIT = [(0.0, 1.0), (0.0, 1.0)]
D = pde.derivative


def found(equation, domain=UNIT, outputs=1, **options):
    start = pde.initial([0.0] * outputs if outputs > 1 else 1.0, 9)
    problem = pde.Problem(domain, [pde.interior(equation, 16), start], [4], outputs=outputs, **options)
    return pace([problem.terms["interior"]], problem.domain, problem.time, problem.scales, problem.params)


@pytest.mark.parametrize("speed", [-7.0, 5.0, 12.0])
def test_advection_swings_as_fast_as_it_moves(speed):
    """Of u_t + c u_x = 0 on the unit square |c| waves pass in time for one in space."""
    assert found(lambda u, z: D(u, z, 1) + speed * D(u, z, 0)) == pytest.approx(abs(speed))


def test_the_sides_of_the_domain_count():
    domain = [(0.0, 2 * np.pi), (1.0, 3.0)]  # 40 * 2 / (2 pi) = 12.7 waves, in steps of an eighth
    assert found(lambda u, z: D(u, z, 1) + 40 * D(u, z, 0), domain) == pytest.approx(12.73, abs=0.07)


def test_a_wave_equation_swings_both_ways():
    assert found(lambda u, z: D(u, z, 1, 1) - 64 * D(u, z, 0, 0)) == pytest.approx(8.0)


def test_the_components_of_a_system_swing_together():
    """Schroedinger's equation in two real parts: w = c k^2, c pi half waves in time for half a wave in space."""

    def equation(u, z):
        (a, b), (c, d) = D(u, z, 1), D(u, z, 0, 0)
        return [a + 1.5 * d, b - 1.5 * c]

    assert found(equation, outputs=2) == pytest.approx(1.5 * np.pi, abs=0.07)


def test_the_fastest_place_counts():
    assert 4.5 < found(lambda u, z: D(u, z, 1) + 9.0 * z[0] * D(u, z, 0)) <= 9.0


@pytest.mark.parametrize(
    "equation",
    [
        lambda u, z: D(u, z, 1) - 25.0 * D(u, z, 0, 0),  # decays
        lambda u, z: D(u, z, 1) + 30.0 * u(z),
        lambda u, z: D(u, z, 1) + 2.0 * D(u, z, 0),  # is followed by itself
        lambda u, z: D(u, z, 0, 0) + D(u, z, 1, 1) + np.nan * u(z),
    ],
    ids=["diffusion", "decay", "slow advection", "not finite"],
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
