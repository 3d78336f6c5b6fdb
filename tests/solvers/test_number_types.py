"""Our solvers run in float32 and in float64, with fewer outputs than weights and with more."""

import numpy as np
import pytest

import stiffgrad as sg

OWN = [name for name in sg.solvers.names() if sg.solvers.solver_class(name).family == "own"]


def sine(dtype, samples):
    """A perceptron of 61 weights on points of a sine."""
    x = np.linspace(-1, 1, samples)[:, None]
    apply, params = sg.mlp([1, 20, 1])
    return sg.supervised(apply, params, x, np.sin(3 * x), dtype=dtype)


@pytest.mark.parametrize(("samples", "dtype"), [(20, "float32"), (20, "float64"), (80, "float32")])
@pytest.mark.parametrize("name", OWN)
def test_steps_in_its_number_type(name, samples, dtype):
    objective = sine(dtype, samples)
    solution = sg.solve(objective, name, until=sg.Until(steps=5))
    assert solution.w.dtype == dtype
    assert solution.statistics.steps >= 5
    assert solution.loss < float(objective.value(objective.w0))
