"""Units: a problem is the same in any of them."""

import jax
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import pde


def heat(length=1.0, time=1.0, kelvin=1.0, offset=0.0, units=6):
    """u_t = u_xx / 4 on [0, 1] x [0, 1], and the same rod in other units."""
    conductivity = 0.25 * length**2 / time
    return pde.Problem(
        [(0, length), (0, time)],
        [
            pde.interior(lambda u, z: pde.derivative(u, z, 1) - conductivity * pde.derivative(u, z, 0, 0), 64),
            pde.boundary(offset, 8),
            pde.initial(lambda z: offset + kelvin * np.sin(np.pi * z[0] / length), 8),
        ],
        [units],
    )


def test_units_of_length_time_and_temperature_change_nothing():
    plain, other = heat(), heat(0.1, 300.0, 1000.0)
    assert (plain.scales.shift, plain.scales.size) == ((0.0,), (1.0,))
    assert plain.network.size == ()
    assert (other.network.shift, other.network.size) == ((0.0,), (1000.0,))
    for params in (plain.params, jax.tree.map(lambda leaf: 0.5 * leaf, plain.params)):
        losses = [float(problem.objective.value(problem.objective.flatten(params))) for problem in (plain, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    where = np.array([[0.3, 0.2], [0.9, 0.7]])
    expected = 1000 * plain.evaluate(plain.params, where)
    np.testing.assert_allclose(other.evaluate(plain.params, where * [0.1, 300.0]), expected, rtol=1e-12)


def test_temperatures_in_kelvin_are_found_and_solved():
    problem = heat(0.1, 300.0, 100.0, 300.0, units=16)
    assert problem.scales.shift[0] == pytest.approx(330, abs=20)
    assert problem.scales.size == (100.0,)
    solution = pde.solve(problem, until=sg.Until(loss=1e-7, steps=300), resample=None)
    assert solution.outcome is sg.Outcome.TARGET
    exact = lambda z: 300 + 100 * np.sin(np.pi * z[0] / 0.1) * np.exp(-0.25 * np.pi**2 * z[1] / 300)  # noqa: E731
    assert solution.errors(exact).rms < 0.2  # of 100 K, on so few points


def test_a_source_tells_the_size_where_all_conditions_are_zero():
    beam = pde.interior(lambda u, x: 2e5 * pde.derivative(u, x, 0, 0, 0, 0) - 1e3, 16)
    ends = pde.boundary(lambda u, x: [u(x), pde.derivative(u, x, 0, 0)])
    problem = pde.Problem([(0, 2)], [beam, ends], [4])
    # Its middle sinks by 5 q L^4 / (384 E I) = 1 mm.
    assert problem.scales.size[0] in (1e-4, 1e-3)
    assert problem.scales.shift == (0.0,)


def test_components_have_their_own_units():
    """Half a million people and a thousandth of a gram, each driving the other."""

    def equation(u, t):
        (people, grams), (growth, change) = u(t), pde.derivative(u, t)
        return [growth + people - 5e8 * grams, change + grams - 2e-9 * people]

    start = pde.initial(lambda u, t: [u(t)[0] - 5e5, u(t)[1]])
    problem = pde.Problem([(0, 1)], [pde.interior(equation, 16), start], [4], outputs=2)
    assert problem.scales.size[0] == pytest.approx(5e5, rel=2)
    assert problem.scales.size[1] == pytest.approx(1e-3, rel=2)
    ratio = problem.scales.size[1] / problem.scales.size[0]
    for name in ("interior", "initial"):
        first, second = problem.scales.terms[name]
        assert first == 1.0
        assert 0.1 <= second / ratio <= 10
    # What is told is not in these units but in the user's.
    t = problem.points["interior"]
    left = problem.residual("interior", problem.params, t)
    u = lambda z: problem.network(problem.params, z)  # noqa: E731
    np.testing.assert_allclose(left[3], equation(u, t[3]), rtol=1e-9)


def test_a_wave_at_rest_sees_positions_and_speeds_alike():
    """A string of 0.65 m in ms: speeds are thousands of times as large as positions."""
    start = pde.initial(lambda u, z: [u(z) - 3e-3 * np.sin(np.pi * z[0] / 0.65), pde.derivative(u, z, 1)], 16)
    wave = pde.interior(lambda u, z: pde.derivative(u, z, 1, 1) - 280**2 * pde.derivative(u, z, 0, 0), 16)
    problem = pde.Problem([(0, 0.65), (0, 4.6e-3)], [wave, pde.boundary(0.0, 8), start], [5])
    assert problem.scales.size == (1e-3,)
    assert problem.scales.terms["initial"] == (1.0, 1000.0)


def test_the_network_with_a_shift_and_a_size():
    plain, params = pde.network([(0, 1), (0, 2)], [5], 2)
    scaled, same = pde.network([(0, 1), (0, 2)], [5], 2, shift=[300.0, 0.0], size=[50.0, 1e-3])
    x = np.array([0.3, 1.2])
    np.testing.assert_allclose(scaled(same, x), [300, 0] + np.array([50, 1e-3]) * plain(params, x), rtol=1e-12)
    hessian = jax.hessian(lambda z: scaled(params, z))(x)
    np.testing.assert_allclose(scaled.laplacian(params, x, np.eye(2)), np.trace(hessian, axis1=1, axis2=2), rtol=1e-9)
    with pytest.raises(ValueError, match="size=0"):
        pde.network([(0, 1)], [5], size=0.0)
    with pytest.raises(ValueError, match="one for each of 1 outputs"):
        pde.network([(0, 1)], [5], shift=[1.0, 2.0])


def test_a_fast_reaction_tells_how_little_there_is_of_what_it_eats():
    """Robertson's three kinds: what is left of 0.04 a second is eaten by 3e7 y^2, so that y is 3.65e-5."""

    def kinetics(u, t):
        (a, b, c), (da, db, dc) = u(t), pde.derivative(u, t)
        return [da + 0.04 * a - 1e4 * b * c, db - 0.04 * a + 1e4 * b * c + 3e7 * b**2, dc - 3e7 * b**2]

    problem = pde.Problem([(0, 40)], [pde.interior(kinetics, 16), pde.initial([1.0, 0.0, 0.0])], [4], outputs=3)
    assert problem.scales.size[0] == 1.0
    assert problem.scales.size[1] in (1e-5, 1e-4)
    assert problem.scales.size[2] in (0.1, 1.0)
    assert 1e-4 < problem.weights["interior"] < 1e4


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_size_is_that_of_the_term_that_balances_first(power):
    """y' = 1e6 - y^n for a long time: y ends at 1e6^(1/n), and not at 1e6 times the time."""
    growth = pde.interior(lambda u, t: pde.derivative(u, t) - 1e6 + u(t) ** power, 16)
    problem = pde.Problem([(0, 1000)], [growth, pde.initial(0.0)], [4])
    assert 0.2 <= problem.scales.size[0] / 10 ** (6 / power) <= 5


def test_what_is_zero_at_first_has_the_size_that_the_others_give_it():
    """i psi_t = -psi_xx / 2 of a real packet, whose tail of 4e-6 at the ends is all that is told of the other part."""

    def packet(z):
        psi = (1 + 1j * z[1]) ** -0.5 * np.exp(-(z[0] ** 2) / (2 + 2j * z[1]))
        return np.array([psi.real, psi.imag])

    def schroedinger(u, z):
        (real_rate, rate), (real_bend, bend) = pde.derivative(u, z, 1), pde.derivative(u, z, 0, 0)
        return [real_rate + bend / 2, rate - real_bend / 2]

    conditions = [pde.interior(schroedinger, 32), pde.boundary(packet, 32), pde.initial(packet, 32)]
    problem = pde.Problem([(-5, 5), (0, 1)], conditions, [4], outputs=2)
    assert problem.scales.size[0] == 1.0
    assert problem.scales.size[1] in (0.01, 0.1, 1.0)


def test_a_pole_that_the_start_comes_near_to_decides_no_weight():
    """u' = -u / (K + u): somewhere the start is nearly -K, and one row of the Jacobian is 1e4 times all others."""

    def weight(constant):
        uptake = pde.interior(lambda u, t: pde.derivative(u, t) + u(t) / (constant + u(t)), 256)
        return pde.Problem([(0, 60)], [uptake, pde.initial(5.0)], [20]).weights["interior"]

    start = pde.network([(0, 60)], [20])
    values = 10.0 * np.array([start[0](start[1], np.array([t])) for t in np.linspace(0, 60, 256)])
    near = -float(np.median(values))
    assert 1e-4 < weight(near) / weight(50.0) < 1e4


def test_what_is_not_finite_at_constants_has_no_units():
    root = pde.interior(lambda u, t: pde.derivative(u, t) - 1000.0 / u(t), 8)
    problem = pde.Problem([(0, 1)], [root, pde.boundary(lambda u, t: pde.derivative(u, t), faces=[(0, 0.0)])], [4])
    assert problem.scales.size == (1.0,)


@pytest.mark.parametrize("center", [(0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7)])
def test_a_source_tells_the_size_wherever_it_lies(center):
    # Every sixteenth of Sobol's points lies in one sixteenth of the domain: a peak elsewhere had a size of 1e-9.
    def peak(u, z):
        r = ((z[0] - center[0]) ** 2 + (z[1] - center[1]) ** 2) / 0.005
        return pde.laplacian(u, z) - 400 * np.exp(-r) * (r - 1)

    problem = pde.Problem([(0, 1), (0, 1)], [pde.interior(peak), pde.boundary(0.0)])
    assert problem.scales.size in ((0.1,), (1.0,))
