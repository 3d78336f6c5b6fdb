"""Plain equations of textbooks, written as a user would write them and solved with the defaults of `pde.solve`.

    python benchmarks/plain_equations.py --out runs/plain
    python benchmarks/plain_equations.py --only heat-si --only wave --seconds 25 --seed 1

Every network, number of points, weight and option is the default; only the budget is set. Each cell (equation, seed,
budget) runs in a process of its own and is kept as JSON, so a second run does only what is missing. The error is
relative L2 on 10,000 points, against the exact solution or one integrated to 12 digits. Temperatures are in kelvin and
their errors relative to the whole temperature, as a user would take them.
"""
# ruff: noqa: E731  a formula is one line

import pathlib

import numpy as np
from equation_runs import Equation, main
from scipy.integrate import solve_ivp

from stiffgrad import pde

D = pde.derivative
PI = np.pi
UNIT = (0.0, 1.0)


def trajectory(right_hand_side, start, end):
    """The first component of an ODE's solution, to 12 digits."""
    options = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-13, "dense_output": True}
    path = solve_ivp(right_hand_side, (0, end), start, **options).sol
    return lambda z: path(z[0])[0]


def poisson_1d():
    """-u'' = exp(x), u(0) = 1, u(1) = 2."""
    exact = lambda z: 2 + np.e * z[0] - np.exp(z[0])
    equation = lambda u, z: D(u, z, 0, 0) + np.exp(z[0])
    return Equation([UNIT], [pde.interior(equation), pde.boundary(exact)], exact)


def poisson_2d():
    """-lap u = 2 pi^2 sin(pi x) sin(pi y), 0 on the edge."""
    exact = lambda z: np.sin(PI * z[0]) * np.sin(PI * z[1])
    equation = lambda u, z: pde.laplacian(u, z) + 2 * PI**2 * exact(z)
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(0.0)], exact)


def poisson_2d_data():
    """lap u = 6 x y + 2, u = x^3 y + y^2 on the edge."""
    exact = lambda z: z[0] ** 3 * z[1] + z[1] ** 2
    equation = lambda u, z: pde.laplacian(u, z) - 6 * z[0] * z[1] - 2
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(exact)], exact)


def poisson_si():
    """A plate of 0.2 m that 1e6 W/m^3 heat, 50 W/(m K), both sides at 300 K: 400 K in its middle."""
    exact = lambda z: 300 + 1e4 * z[0] * (0.2 - z[0])
    equation = lambda u, z: 50 * D(u, z, 0, 0) + 1e6
    return Equation([(0, 0.2)], [pde.interior(equation), pde.boundary(300.0)], exact)


def laplace():
    """Laplace in [0, 2] x [0, 1], three sides at 20 degrees, the upper one 20 + 80 sin(pi x / 2)."""
    exact = lambda z: 20 + 80 * np.sin(PI * z[0] / 2) * np.sinh(PI * z[1] / 2) / np.sinh(PI / 2)
    return Equation([(0, 2), UNIT], [pde.interior(lambda u, z: pde.laplacian(u, z)), pde.boundary(exact)], exact)


def laplace_corners():
    """Laplace in the unit square, 0 on three sides and 1 on the upper one: it jumps in two corners."""

    def exact(z):
        n = 2 * np.arange(120)[:, None] + 1
        y = np.atleast_1d(z[1])
        series = 4 / (n * PI) * np.sin(n * PI * np.atleast_1d(z[0]))
        return np.sum(series * np.exp(n * PI * (y - 1)) * -np.expm1(-2 * n * PI * y) / -np.expm1(-2 * n * PI), axis=0)

    sides = pde.boundary(0.0, faces=[(0, 0.0), (0, 1.0), (1, 0.0)])
    conditions = [pde.interior(lambda u, z: pde.laplacian(u, z)), sides, pde.boundary(1.0, faces=[(1, 1.0)])]
    # On the upper side the series does not converge.
    return Equation([UNIT, UNIT], conditions, exact, where=lambda z: z[1] < 0.995)


def heat():
    """u_t = u_xx, sin(pi x) at the start, 0 at both ends."""
    exact = lambda z: np.exp(-(PI**2) * z[1]) * np.sin(PI * z[0])
    start = pde.initial(lambda z: np.sin(PI * z[0]))
    return Equation(
        [UNIT, (0, 0.3)], [pde.interior(lambda u, z: D(u, z, 1) - D(u, z, 0, 0)), pde.boundary(0.0), start], exact
    )


def heat_si():
    """A rod of 0.1 m, 1e-5 m^2/s, 300 s, ends at 300 K, 400 K in its middle at the start."""
    exact = lambda z: 300 + 100 * np.exp(-1e-5 * (PI / 0.1) ** 2 * z[1]) * np.sin(PI * z[0] / 0.1)
    start = pde.initial(lambda z: 300 + 100 * np.sin(PI * z[0] / 0.1))
    equation = lambda u, z: D(u, z, 1) - 1e-5 * D(u, z, 0, 0)
    return Equation([(0, 0.1), (0, 300)], [pde.interior(equation), pde.boundary(300.0), start], exact)


def layer():
    """u' = 0.05 u'', u(0) = 0, u(1) = 1: a layer at the end."""
    exact = lambda z: np.expm1(z[0] / 0.05) / np.expm1(1 / 0.05)
    equation = lambda u, z: D(u, z, 0) - 0.05 * D(u, z, 0, 0)
    return Equation([UNIT], [pde.interior(equation), pde.boundary(exact)], exact)


def advection():
    """u_t + u_x = 0.01 u_xx, sin(2 pi x) at the start, ends as the exact solution."""
    exact = lambda z: np.exp(-0.01 * (2 * PI) ** 2 * z[1]) * np.sin(2 * PI * (z[0] - z[1]))
    equation = lambda u, z: D(u, z, 1) + D(u, z, 0) - 0.01 * D(u, z, 0, 0)
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(exact), pde.initial(exact)], exact)


def wave():
    """u_tt = 4 u_xx, sin(pi x) at rest at the start, 0 at both ends."""
    exact = lambda z: np.sin(PI * z[0]) * np.cos(2 * PI * z[1])
    start = pde.initial(lambda u, z: [u(z) - np.sin(PI * z[0]), D(u, z, 1)])
    equation = lambda u, z: D(u, z, 1, 1) - 4 * D(u, z, 0, 0)
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(0.0), start], exact)


def string_si():
    """A string of 0.65 m, 280 m/s, plucked by 3 mm in its first mode, over one period of 4.6 ms."""
    speed, length, height = 280.0, 0.65, 3e-3
    exact = lambda z: height * np.sin(PI * z[0] / length) * np.cos(PI * speed * z[1] / length)
    start = pde.initial(lambda z: height * np.sin(PI * z[0] / length))
    rest = pde.initial(lambda u, z: D(u, z, 1))
    equation = lambda u, z: D(u, z, 1, 1) - speed**2 * D(u, z, 0, 0)
    return Equation([(0, length), (0, 4.6e-3)], [pde.interior(equation), pde.boundary(0.0), start, rest], exact)


def helmholtz():
    """lap u + (2 pi)^2 u = -(2 pi)^2 sin(2 pi x) sin(2 pi y), 0 on the edge."""
    exact = lambda z: np.sin(2 * PI * z[0]) * np.sin(2 * PI * z[1])
    equation = lambda u, z: pde.laplacian(u, z) + (2 * PI) ** 2 * u(z) + (2 * PI) ** 2 * exact(z)
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(0.0)], exact)


def fisher():
    """u_t = u_xx + u (1 - u): the front of Ablowitz and Zeppetella on [-5, 5] x [0, 2]."""
    exact = lambda z: (1 + np.exp((z[0] - 5 / np.sqrt(6) * z[1]) / np.sqrt(6))) ** -2.0
    equation = lambda u, z: D(u, z, 1) - D(u, z, 0, 0) - u(z) * (1 - u(z))
    return Equation([(-5, 5), (0, 2)], [pde.interior(equation), pde.boundary(exact), pde.initial(exact)], exact)


def burgers():
    """u_t + u u_x = 0.1 u_xx on [-1, 1] x [0, 1], -sin(pi x) at the start; by the integral of Cole and Hopf."""
    nodes, weights = np.polynomial.hermite.hermgauss(120)

    def exact(z):
        x, t = np.atleast_1d(z[0])[:, None], np.atleast_1d(z[1])[:, None]
        y = x - np.sqrt(0.4 * t) * nodes
        kernel = weights * np.exp(-np.cos(PI * y) / (0.2 * PI))
        return -np.sum(kernel * np.sin(PI * y), axis=1) / np.sum(kernel, axis=1)

    equation = lambda u, z: D(u, z, 1) + u(z) * D(u, z, 0) - 0.1 * D(u, z, 0, 0)
    start = pde.initial(lambda z: -np.sin(PI * z[0]))
    return Equation([(-1, 1), UNIT], [pde.interior(equation), pde.boundary(0.0), start], exact)


def logistic():
    """u' = u (1 - u), u(0) = 0.05, on [0, 8]."""
    exact = lambda z: 1 / (1 + 19 * np.exp(-z[0]))
    return Equation([(0, 8)], [pde.interior(lambda u, t: D(u, t) - u(t) * (1 - u(t))), pde.initial(0.05)], exact)


def logistic_people():
    """The same with 10 million people at most, half a million at first, 3 per cent a year, for 200 years."""
    exact = lambda z: 1e7 / (1 + 19 * np.exp(-0.03 * z[0]))
    equation = lambda u, t: D(u, t) - 0.03 * u(t) * (1 - u(t) / 1e7)
    return Equation([(0, 200)], [pde.interior(equation), pde.initial(5e5)], exact)


def oscillator():
    """u'' + u' / 2 + 4 u = 0, u(0) = 1, u'(0) = 0, on [0, 10]."""
    rate = np.sqrt(4 - 1 / 16)
    exact = lambda z: np.exp(-z[0] / 4) * (np.cos(rate * z[0]) + np.sin(rate * z[0]) / (4 * rate))
    equation = lambda u, t: D(u, t, 0, 0) + 0.5 * D(u, t) + 4 * u(t)
    return Equation([(0, 10)], [pde.interior(equation), pde.initial(lambda u, t: [u(t) - 1, D(u, t)])], exact)


def van_der_pol():
    """u'' - (1 - u^2) u' + u = 0, u(0) = 2, u'(0) = 0, on [0, 7]."""
    exact = trajectory(lambda t, y: [y[1], (1 - y[0] ** 2) * y[1] - y[0]], [2, 0], 7)
    equation = lambda u, t: D(u, t, 0, 0) - (1 - u(t) ** 2) * D(u, t) + u(t)
    return Equation([(0, 7)], [pde.interior(equation), pde.initial(lambda u, t: [u(t) - 2, D(u, t)])], exact)


def predators():
    """x' = 1.5 x - x y, y' = -3 y + x y from (1, 1) on [0, 4]; both count in the error."""
    rates = lambda t, y: [1.5 * y[0] - y[0] * y[1], -3 * y[1] + y[0] * y[1]]
    path = solve_ivp(rates, (0, 4), [1, 1], method="DOP853", rtol=1e-13, atol=1e-13, dense_output=True).sol

    def equation(u, t):
        (prey, hunters), (prey_rate, hunters_rate) = u(t), D(u, t)
        return [prey_rate - 1.5 * prey + prey * hunters, hunters_rate + 3 * hunters - prey * hunters]

    return Equation([(0, 4)], [pde.interior(equation), pde.initial([1.0, 1.0])], lambda z: path(z[0]).T, outputs=2)


def beam():
    """u'''' = 24, u = u'' = 0 at both ends: the supported beam."""
    exact = lambda z: z[0] ** 4 - 2 * z[0] ** 3 + z[0]
    ends = pde.boundary(lambda u, z: [u(z), D(u, z, 0, 0)])
    return Equation([UNIT], [pde.interior(lambda u, z: D(u, z, 0, 0, 0, 0) - 24), ends], exact)


def cantilever_si():
    """E I u'''' = q: a cantilever of 2 m, 2e5 N m^2, 1,000 N/m; its end sinks by 1 cm."""
    exact = lambda z: 1e3 / (24 * 2e5) * z[0] ** 2 * (z[0] ** 2 - 8 * z[0] + 24)
    clamped = pde.boundary(lambda u, z: [u(z), D(u, z, 0)], faces=[(0, 0.0)])
    free = pde.boundary(lambda u, z: [D(u, z, 0, 0), D(u, z, 0, 0, 0)], faces=[(0, 2.0)])
    return Equation([(0, 2)], [pde.interior(lambda u, z: 2e5 * D(u, z, 0, 0, 0, 0) - 1e3), clamped, free], exact)


def cubic_poisson():
    """-lap u + u^3 = f with u = sin(pi x) sin(pi y), 0 on the edge."""
    exact = lambda z: np.sin(PI * z[0]) * np.sin(PI * z[1])
    equation = lambda u, z: -pde.laplacian(u, z) + u(z) ** 3 - 2 * PI**2 * exact(z) - exact(z) ** 3
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(0.0)], exact)


def string():
    """u_tt = 4 u_xx, sin(2 pi x) with the speed 2 pi sin(pi x) at the start: two initial conditions."""
    exact = lambda z: np.sin(2 * PI * z[0]) * np.cos(4 * PI * z[1]) + np.sin(PI * z[0]) * np.sin(2 * PI * z[1])
    start, speed = pde.initial(lambda z: np.sin(2 * PI * z[0])), 2 * PI
    moving = pde.initial(lambda u, z: D(u, z, 1) - speed * np.sin(PI * z[0]))
    equation = lambda u, z: D(u, z, 1, 1) - 4 * D(u, z, 0, 0)
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(0.0), start, moving], exact)


def soliton():
    """Korteweg and de Vries: u_t + 6 u u_x + u_xxx = 0 on [-5, 5] x [0, 1], a soliton of speed 2."""
    exact = lambda z: np.cosh(np.sqrt(0.5) * (z[0] - 2 * z[1])) ** -2.0
    equation = lambda u, z: D(u, z, 1) + 6 * u(z) * D(u, z, 0) + D(u, z, 0, 0, 0)
    slope = pde.boundary(
        lambda u, z: D(u, z, 0) + np.sqrt(2) * np.tanh(np.sqrt(0.5) * (z[0] - 2 * z[1])) * exact(z), faces=[(0, 5.0)]
    )
    return Equation([(-5, 5), UNIT], [pde.interior(equation), pde.boundary(exact), slope, pde.initial(exact)], exact)


def kink():
    """Sine-Gordon: u_tt = u_xx - sin u, a kink of speed 1/2 on [-4, 4] x [0, 2]."""
    root = np.sqrt(0.75)
    exact = lambda z: 4 * np.arctan(np.exp((z[0] - 0.5 * z[1]) / root))
    speed = pde.initial(lambda u, z: D(u, z, 1) + (1 / root) / np.cosh(z[0] / root))
    equation = lambda u, z: D(u, z, 1, 1) - D(u, z, 0, 0) + np.sin(u(z))
    return Equation([(-4, 4), (0, 2)], [pde.interior(equation), pde.boundary(exact), pde.initial(exact), speed], exact)


def bratu():
    """u'' + exp(u) = 0, 0 at both ends; the lower branch."""
    theta = 1.5171645990507543  # theta = sqrt(2) cosh(theta / 4)
    exact = lambda z: -2 * np.log(np.cosh((z[0] - 0.5) * theta / 2) / np.cosh(theta / 4))
    return Equation([UNIT], [pde.interior(lambda u, z: D(u, z, 0, 0) + np.exp(u(z))), pde.boundary(0.0)], exact)


def lane_emden():
    """x u'' + 2 u' + x u^5 = 0, u(0) = 1, u'(0) = 0, on [0, 5]."""
    exact = lambda z: 1 / np.sqrt(1 + z[0] ** 2 / 3)
    equation = lambda u, x: x[0] * D(u, x, 0, 0) + 2 * D(u, x) + x[0] * u(x) ** 5
    return Equation([(0, 5)], [pde.interior(equation), pde.initial(lambda u, x: [u(x) - 1, D(u, x)])], exact)


def fin():
    """A fin of 5 cm in air of 293 K: k A T'' = h P (T - 293), 373 K at its foot, h (T - 293) lost at its tip."""
    k, h, area, edge, length = 200.0, 50.0, 1e-5, 1.4e-2, 0.05
    m = np.sqrt(h * edge / (k * area))
    tip = h / (m * k)

    def exact(z):
        x = length - z[0]
        return 293 + 80 * (np.cosh(m * x) + tip * np.sinh(m * x)) / (np.cosh(m * length) + tip * np.sinh(m * length))

    equation = lambda u, z: k * area * D(u, z, 0, 0) - h * edge * (u(z) - 293)
    foot = pde.boundary(373.0, faces=[(0, 0.0)])
    loss = pde.boundary(lambda u, z: k * D(u, z, 0) + h * (u(z) - 293), faces=[(0, length)])
    return Equation([(0, length)], [pde.interior(equation), foot, loss], exact)


def poisson_3d():
    """-lap u = 3 pi^2 sin sin sin in the unit cube, 0 on its faces."""
    exact = lambda z: np.sin(PI * z[0]) * np.sin(PI * z[1]) * np.sin(PI * z[2])
    equation = lambda u, z: pde.laplacian(u, z) + 3 * PI**2 * exact(z)
    return Equation([UNIT] * 3, [pde.interior(equation), pde.boundary(0.0)], exact)


def pendulum():
    """u'' + sin u = 0 from 2 radians at rest, on [0, 8]."""
    exact = trajectory(lambda t, y: [y[1], -np.sin(y[0])], [2, 0], 8)
    equation = lambda u, t: D(u, t, 0, 0) + np.sin(u(t))
    return Equation([(0, 8)], [pde.interior(equation), pde.initial(2.0), pde.initial(lambda u, t: D(u, t))], exact)


def epidemic():
    """A thousand people, ten of them ill; 0.5 and 0.1 a day, for 60 days: who is not yet ill, who is."""
    rates = lambda t, y: [-5e-4 * y[0] * y[1], 5e-4 * y[0] * y[1] - 0.1 * y[1]]
    path = solve_ivp(rates, (0, 60), [990, 10], method="DOP853", rtol=1e-13, atol=1e-10, dense_output=True).sol

    def equation(u, t):
        (well, ill), (less, more) = u(t), D(u, t)
        return [less + 5e-4 * well * ill, more - 5e-4 * well * ill + 0.1 * ill]

    return Equation([(0, 60)], [pde.interior(equation), pde.initial([990.0, 10.0])], lambda z: path(z[0]).T, outputs=2)


def darcy():
    """-div((1 + x y) grad u) = f in the unit square, u = exp(x) cos(y) on the edge."""
    exact = lambda z: np.exp(z[0]) * np.cos(z[1])
    f = lambda z: -np.exp(z[0]) * (z[1] * np.cos(z[1]) - z[0] * np.sin(z[1]))
    equation = lambda u, z: -pde.divergence(lambda x: (1 + x[0] * x[1]) * pde.gradient(u, x), z) - f(z)
    return Equation([UNIT, UNIT], [pde.interior(equation), pde.boundary(exact)], exact)


EQUATIONS = {
    "poisson-1d": poisson_1d,
    "poisson-2d": poisson_2d,
    "poisson-2d-data": poisson_2d_data,
    "poisson-si": poisson_si,
    "laplace": laplace,
    "laplace-corners": laplace_corners,
    "heat": heat,
    "heat-si": heat_si,
    "layer": layer,
    "advection": advection,
    "wave": wave,
    "string-si": string_si,
    "helmholtz": helmholtz,
    "fisher": fisher,
    "burgers": burgers,
    "logistic": logistic,
    "logistic-people": logistic_people,
    "oscillator": oscillator,
    "van-der-pol": van_der_pol,
    "predators": predators,
    "beam": beam,
    "cantilever-si": cantilever_si,
    "cubic-poisson": cubic_poisson,
    "string": string,
    "soliton": soliton,
    "kink": kink,
    "bratu": bratu,
    "lane-emden": lane_emden,
    "fin": fin,
    "poisson-3d": poisson_3d,
    "pendulum": pendulum,
    "epidemic": epidemic,
    "darcy": darcy,
}


if __name__ == "__main__":
    main(EQUATIONS, __doc__, seconds=25.0, out=pathlib.Path("runs/plain"))
