"""Rows of the Jacobian as sums of outer products are those of reverse mode, sample by sample."""

import jax
import jax.numpy as jnp
import numpy as np

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.curvature import rows
from stiffgrad.objective import derivatives
from stiffgrad.solvers._compiled import QUICK

SQUARE = [(0.0, 1.0), (0.0, 2.0)]
EQUATIONS = {
    "first": lambda u, x: pde.derivative(u, x, 1) + u(x) * pde.derivative(u, x, 0),
    "mixed": lambda u, x: pde.derivative(u, x, 0, 1),
    "laplacian": lambda u, x: pde.laplacian(u, x) + jnp.exp(u(x)),
    "gradient": lambda u, x: jnp.sum(pde.gradient(u, x) ** 2),
    "two points": lambda u, x: u(x) - u(x + jnp.array([1.0, 0.0])),
    "two residuals": lambda u, x: [u(x), pde.derivative(u, x, 1, 1)],
}


def check(objective, factored, monkeypatch):
    """All that rows can do, with each leaf's part of the kernel formed or not, against A itself.

    `factored`: how many leaves are sums of outer products, in each block.
    """
    w = jnp.asarray(objective.w0)
    d, b = (np.random.default_rng(0).normal(size=size) for size in (objective.size, objective.rows))

    def everything(objective, w):
        a = derivatives.scaled_jacobian(objective, w)
        found = rows.rows_at(objective, w)
        assert isinstance(found, rows.FactoredRows)
        assert [sum(f.right is not None for f in factors) for factors in found.blocks] == factored
        kernels = []
        for apart in (0.0, np.inf):
            monkeypatch.setattr(rows, "APART", apart)
            assert len(found._apart()) == (min(factored) if apart == 0.0 else 0)
            kernels.append(jnp.tril(found.kernel()))
        seen = (*kernels, jnp.tril(found.gram()), found.push(d), found.pull(b))
        return seen, (*[jnp.tril(a @ a.T)] * 2, jnp.tril(a.T @ a), a @ d, a.T @ b)

    for seen, exact in zip(*jax.jit(everything, compiler_options=QUICK)(objective, w), strict=True):
        np.testing.assert_allclose(seen, exact, rtol=0, atol=1e-13 * float(jnp.abs(exact).max()))


def test_rows_of_equations(monkeypatch):
    """Every weight matrix enters by products with vectors, whatever the operator: none is differentiated itself."""
    conditions = [pde.interior(equation, 3 + i, name=name) for i, (name, equation) in enumerate(EQUATIONS.items())]
    problem = pde.Problem(SQUARE, conditions, [4, 3], balance=False)
    check(problem.objective, [3] * len(EQUATIONS), monkeypatch)


def test_rows_of_a_system_with_unknowns(monkeypatch):
    network = pde.network([(0, 1)], [4], 2, activation="sine", transform=lambda t, n: 1 + t[0] * n)

    def equation(u, t, p):
        return pde.derivative(u, t) + p["rates"] @ u(t)

    unknowns = {"rates": np.array([[1.0, 0.5], [0.0, 2.0]])}
    problem = pde.Problem([(0, 1)], [pde.interior(equation, 6), pde.initial(1.0)], network, unknowns=unknowns)
    check(problem.objective, [3, 2], monkeypatch)


def test_a_matrix_with_any_other_use_is_differentiated_itself(monkeypatch):
    """`once` and `twice` only multiply vectors; the others are squared, multiplied together, or change in a loop."""
    generator = np.random.default_rng(0)
    names = ("once", "twice", "squared", "first", "second", "looped", "sliced")
    params = {name: generator.normal(size=(3, 3)) for name in names} | {"bias": generator.normal(size=3)}

    def residual(p, x):
        def body(z, _):
            return jnp.tanh(p["looped"] @ z), None

        z = jnp.tanh(x @ p["once"] + p["bias"])
        z = jax.nn.silu(p["twice"].T @ (p["twice"] @ z)) + p["squared"] ** 2 @ z
        z = (p["first"] @ p["second"]) @ z + p["sliced"][0]
        return jax.lax.scan(body, z, length=2)[0]

    objective = sg.least_squares(residual, params, generator.normal(size=(4, 3)))
    check(objective, [2], monkeypatch)


def test_costs_count_what_is_formed():
    """A wide network's kernel needs no Jacobian: operations and bytes far below m^2 n and m n."""
    wide = pde.Problem([(0, 1)], [pde.interior(lambda u, t: pde.derivative(u, t) + u(t), 20)], [200, 200]).objective
    costs = rows.kernel_costs(wide)
    assert costs.flops < 0.1 * 20**2 * wide.size
    assert costs.bytes < 0.2 * 8 * 20 * wide.size
    assert costs.products == 2
    narrow = pde.Problem([(0, 1)], [pde.interior(lambda u, t: pde.derivative(u, t), 9)], [4, 4]).objective
    assert rows.kernel_costs(narrow).flops == 9**2 * narrow.size


def test_chunks_and_rows_give_one_matrix():
    apply, params = sg.mlp([2, 4, 1])
    X = np.random.default_rng(0).normal(size=(10, 2))
    model = lambda p, x: apply(p, x) ** 2  # noqa: E731
    whole, cut = (sg.supervised(model, params, X, X[:, 0], chunk_samples=chunk) for chunk in (None, 3))
    found = jax.jit(lambda objective, w: rows.rows_at(objective, w).gram())(whole, whole.w0)
    np.testing.assert_allclose(np.tril(found), np.tril(cut.gauss_newton(cut.w0)), atol=1e-13)
