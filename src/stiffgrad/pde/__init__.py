"""Differential equations solved by networks: an equation on paper becomes an objective, and its error is looked at.

from stiffgrad import pde

heat = pde.interior(lambda u, z: pde.derivative(u, z, 1) - 0.25 * pde.derivative(u, z, 0, 0))
start = pde.initial(lambda z: np.sin(np.pi * z[0]))
solution = pde.solve(pde.Problem([(0, 1), (0, 1)], [heat, start, pde.boundary(0.0)]))
"""

from stiffgrad._collector import loading

with loading():
    from stiffgrad.pde.conditions import Condition, boundary, initial, interior, observations
    from stiffgrad.pde.measures import Errors, errors, grid_points
    from stiffgrad.pde.networks import Network, network, siren
    from stiffgrad.pde.operators import derivative, divergence, gradient, laplacian
    from stiffgrad.pde.points import boundary_points, interior_points
    from stiffgrad.pde.problem import Problem
    from stiffgrad.pde.solution import Solution
    from stiffgrad.pde.solving import solve
    from stiffgrad.pde.uncertainty import ErrorBars, error_bars

__all__ = [
    "Condition",
    "ErrorBars",
    "Errors",
    "Network",
    "Problem",
    "Solution",
    "boundary",
    "boundary_points",
    "derivative",
    "divergence",
    "error_bars",
    "errors",
    "gradient",
    "grid_points",
    "initial",
    "interior",
    "interior_points",
    "laplacian",
    "network",
    "observations",
    "siren",
    "solve",
]
