"""Train a Flax NNX module, and a Flax Linen module with its variables: python examples/model_flax.py."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import stiffgrad as sg

X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
y = np.sin(3 * X[:, 0]) * X[:, 1]
until = sg.Until(loss=1e-7, wall_seconds=20)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(2, 16, rngs=rngs)
        self.second = nnx.Linear(16, 16, rngs=rngs)
        self.last = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.tanh(self.second(nnx.tanh(self.first(x)))))


trained = sg.solve(sg.supervised(Net(nnx.Rngs(0)), X, y), until=until).model  # a Net again
error = float(jnp.sqrt(jnp.mean((trained(jnp.asarray(X))[:, 0] - y) ** 2)))
print(f"NNX {type(trained).__name__}: RMS error {error:.1e}")

linen = nn.Sequential([nn.Dense(16), nn.tanh, nn.Dense(16), nn.tanh, nn.Dense(1)])
variables = linen.init(jax.random.key(0), X[:1])
bound = sg.solve(sg.supervised(linen, variables, X, y), until=until).model  # bound to the trained variables
error = float(jnp.sqrt(jnp.mean((linen.apply(bound.variables, X)[:, 0] - y) ** 2)))
print(f"Linen {type(bound).__name__}: RMS error {error:.1e}")
