"""The cheapest mode for each derivative of a network at a point, in floating-point operations.

    python benchmarks/pde_modes.py

Counts the operations of compiled programs (`cost_analysis` of XLA), so the machine's speed has no part in it. For
each derivative and mode: the residual at 256 points, and a row of its Jacobian in the weights (reverse mode on top),
both over one evaluation of the network. Prints the tables of docs/pinns.md.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.jet import jet

import stiffgrad as sg
from stiffgrad.pde import Network

POINTS = 256
NETWORKS = {"2-64-1": [2, 64, 1], "2-30x4-1": [2, 30, 30, 30, 30, 1], "5-64-64-48-48-1": [5, 64, 64, 48, 48, 1]}


def unit(x, axis):
    return jnp.zeros_like(x).at[axis].set(1.0)


def forward(u, axis):
    return lambda x: jax.jvp(u, (x,), (unit(x, axis),))[1]


def reverse(u, axis):
    return lambda x: jax.grad(lambda z: u(z))(x)[axis]


def taylor(u, axis, order):
    """The derivative of that order along one axis, by Taylor mode."""

    def function(x):
        series = [unit(x, axis)] + [jnp.zeros_like(x)] * (order - 1)
        return jet(u, (x,), (series,))[1][order - 1]

    return function


def nested(u, modes, axes):
    for mode, axis in zip(modes, axes, strict=True):
        u = mode(u, axis)
    return u


def laplacian(u, kind):
    def function(x):
        d = x.shape[0]
        eye = jnp.eye(d)
        if kind == "forward over forward":
            slope = lambda v: lambda z: jax.jvp(u, (z,), (v,))[1]  # noqa: E731
            return jnp.sum(jax.vmap(lambda v: jax.jvp(slope(v), (x,), (v,))[1])(eye))
        if kind == "forward over reverse":
            return jnp.trace(jax.jacfwd(jax.grad(u))(x))
        if kind == "reverse over reverse":
            return jnp.trace(jax.jacrev(jax.grad(u))(x))
        if kind == "reverse over forward":
            return jnp.trace(jax.jacrev(jax.jacfwd(u))(x))
        return jnp.sum(jax.vmap(lambda v: jet(u, (x,), ([v, jnp.zeros_like(v)],))[1][1])(eye))

    return function


FOUR = ("forward over forward", "forward over reverse", "reverse over forward", "reverse over reverse", "jet")
LAYERS = "forward, by layers"
MODES = {"forward": forward, "reverse": reverse}


def derivatives(u):
    """Name -> mode -> function of a point."""
    found = {"u_x": {"forward": forward(u, 0), "reverse": reverse(u, 0)}}
    found["gradient"] = {"forward": jax.jacfwd(u), "reverse": jax.grad(u)}
    for name, axes in (("u_xx", (0, 0)), ("u_xy", (0, 1))):
        found[name] = {
            f"{outer} over {inner}": nested(u, (MODES[inner], MODES[outer]), axes)
            for outer, inner in itertools.product(MODES, MODES)
        }
    found["u_xx"]["jet"] = taylor(u, 0, 2)
    found["u_xxx"] = {
        "forward, three times": nested(u, (forward,) * 3, (0, 0, 0)),
        "reverse, then forward twice": nested(u, (reverse, forward, forward), (0, 0, 0)),
        "forward twice, then reverse": nested(u, (forward, forward, reverse), (0, 0, 0)),
        "jet": taylor(u, 0, 3),
    }
    found["laplacian"] = {kind: laplacian(u, kind) for kind in FOUR}
    return found


def by_layers(apply, p, z, name):
    """What `pde.laplacian` does with a `pde.Network`."""
    box = Network(apply, ((-1.0, 1.0),) * z.shape[0])
    return box.laplacian(p, z, jnp.eye(z.shape[0]) if name == "laplacian" else jnp.eye(z.shape[0])[:1])


def flops(function, *arguments):
    cost = jax.jit(function).lower(*arguments).compile().cost_analysis()
    return cost["flops"]


def measure(sizes, derivative, mode):
    """Operations of a residual, and of it with its row of the Jacobian, over those of the network's value."""
    apply, params = sg.mlp(sizes)
    params = jax.tree.map(jnp.asarray, params)
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (POINTS, sizes[0])))

    def residual(p, z):
        if mode == LAYERS:
            return by_layers(apply, p, z, derivative)
        return jnp.sum(derivatives(lambda y: apply(p, y)[0])[derivative][mode](z))

    once = flops(lambda p: jax.vmap(lambda z: apply(p, z)[0])(x), params)
    alone = flops(lambda p: jax.vmap(lambda z: residual(p, z))(x), params)
    row = flops(lambda p: jax.vmap(lambda z: jax.value_and_grad(residual)(p, z))(x), params)
    return alone / once, row / once


def main():
    known = {name: list(modes) for name, modes in derivatives(lambda z: z[0]).items()}
    for name in ("u_xx", "laplacian"):
        known[name].append(LAYERS)
    for name, sizes in NETWORKS.items():
        print(f"\n{name}: operations over those of one evaluation\n")
        print("| derivative | mode | residual | with its row |\n|---|---|---|---|")
        for derivative, mode in ((d, m) for d, modes in known.items() for m in modes):
            alone, row = measure(sizes, derivative, mode)
            print(f"| {derivative} | {mode} | {alone:.1f} | {row:.1f} |", flush=True)


if __name__ == "__main__":
    main()
