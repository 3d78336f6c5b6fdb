"""Train an Equinox module: python examples/model_equinox.py."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import stiffgrad as sg

X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
y = np.sin(3 * X[:, 0]) * X[:, 1]
model = eqx.nn.MLP(2, 1, width_size=16, depth=2, activation=jnp.tanh, key=jax.random.key(0))

objective = sg.supervised(model, X, y)
solution = sg.solve(objective, until=sg.Until(loss=1e-7, wall_seconds=20))
trained = solution.model  # an eqx.nn.MLP again

error = float(jnp.sqrt(jnp.mean((jax.vmap(trained)(X)[:, 0] - y) ** 2)))
print(f"{type(trained).__module__}.{type(trained).__name__}: RMS error {error:.1e}; {solution.outcome.value}")
