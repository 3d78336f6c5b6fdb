"""Which results of a linear program are parallel, whatever its input: scalar factors are taken out of every value.

The signals of derivatives of the highest order pass the same layers: those of u_t and u_x under u_t + c u_x, or of u_xx
and u_yy under a Laplacian, differ by a number only. The program says so itself: each value is kept as a number times an
array, two arrays are the same where the same operation made them of the same, and what is the same is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

CALLS = ("pjit", "jit", "closed_call")
PRODUCTS = ("mul", "dot_general", "neg", "reshape", "squeeze", "broadcast_in_dim", "transpose", "slice", "reduce_sum")
SUMS = ("add", "add_any", "sub")


def called(equation: Any) -> Any:
    """The program that an equation only calls, which may stand in its place; None for any other equation."""
    if equation.primitive.name not in CALLS:
        return None
    return next(p for p in equation.params.values() if hasattr(p, "consts") and hasattr(p, "jaxpr"))


def alone(jaxpr: Any, equation: Any) -> tuple[Any, list[int]]:
    """One equation as a program of its own, and which of its operands that takes: literals are no inputs."""
    places = [i for i, atom in enumerate(equation.invars) if not isinstance(atom, Literal)]
    variables = [equation.invars[i] for i in places]
    return jaxpr.replace(constvars=[], invars=variables, outvars=equation.outvars, eqns=[equation]), places


class Scaled(NamedTuple):
    """A number times an array: arrays of equal keys are equal, whatever the numbers are."""

    factor: jax.Array | None  # of shape (); None for 1
    factor_key: Any
    array: jax.Array
    key: Any

    @property
    def value(self) -> jax.Array:
        """Their product."""
        return self.array if self.factor is None else self.factor * self.array


def scaled_results(function: Callable[..., Any], *inputs: jax.Array) -> list[Scaled]:
    """The results of a function of arrays, flattened, with scalar factors taken out.

    Examples
    --------
    >>> w = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    >>> a, b = scaled_results(lambda x: (w @ (2.0 * x[0] * w[0]), w @ (x[1] * w[0])), jnp.array([5.0, 7.0]))
    >>> a.key == b.key, float(a.factor), float(b.factor)
    (True, 10.0, 7.0)
    """
    traced = jax.make_jaxpr(function)(*inputs)
    evaluator = _Evaluator()
    return evaluator.run(traced.jaxpr, traced.consts, [evaluator.fresh(value) for value in inputs])


class _Evaluator:
    """Evaluates a program; keys are numbers of what was computed, by the operation and the keys of what it took."""

    def __init__(self) -> None:
        self._keys: dict[Any, int] = {}
        self._known: dict[int, list[jax.Array]] = {}

    def run(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Scaled]) -> list[Scaled]:
        """The results of a program."""
        values = dict(zip(jaxpr.invars, inputs, strict=True))
        values.update(zip(jaxpr.constvars, map(self.fresh, constants), strict=True))

        def read(atom: Any) -> Scaled:
            if isinstance(atom, Literal):
                return self._scaled(atom.val, "literal", repr(atom))
            return values[atom]

        for equation in jaxpr.eqns:
            given = [read(atom) for atom in equation.invars]
            inner = called(equation)
            if inner is not None:
                found = self.run(inner.jaxpr, inner.consts, given)
            else:
                found = self._factored(equation, given) or self._whole(jaxpr, equation, given)
            values.update(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def fresh(self, value: Any) -> Scaled:
        """A value that comes from outside."""
        return self._scaled(value, "outside", len(self._keys))

    def _factored(self, equation: Any, given: Sequence[Scaled]) -> list[Scaled]:
        """The result of an operation of the arrays and one of the factors; none where these cannot be told apart."""
        name, single = equation.primitive.name, equation.outvars[0].aval.size == 1
        together = name in SUMS and len({v.factor_key for v in given}) == 1
        if single or not (together or name in PRODUCTS):
            return []
        arrays, keys = [v.array for v in given], [v.key for v in given]
        bind = lambda: [equation.primitive.bind(*arrays, **equation.params)]  # noqa: E731
        (found,), key = self._once(equation, keys, bind)
        factor, factor_key = self._product(given[:1] if together else given)
        return [Scaled(factor, factor_key, found, self._key(key, 0))]

    def _whole(self, jaxpr: Any, equation: Any, given: Sequence[Scaled]) -> list[Scaled]:
        """The results of any other operation."""
        program, places = alone(jaxpr, equation)
        evaluate = lambda: jax.core.eval_jaxpr(program, (), *(given[i].value for i in places))  # noqa: E731
        results, key = self._once(equation, [(v.factor_key, v.key) for v in given], evaluate)
        return [self._scaled(value, key, i) for i, value in enumerate(results)]

    def _once(self, equation: Any, keys: Sequence[Any], compute: Callable[[], list[Any]]) -> tuple[list[Any], int]:
        """The results of an equation, computed if they are not known, and their key."""
        params = tuple(sorted(equation.params.items(), key=lambda item: item[0]))
        try:
            key = self._key(equation.primitive, params, *keys)
        except TypeError:  # a parameter that has no hash
            key = self._key(object())
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key], key

    def _product(self, values: Sequence[Scaled]) -> tuple[Any, Any]:
        """The factor of a product of one or two values, and its key."""
        taken = [(v.factor, v.factor_key) for v in values if v.factor is not None]
        if len(taken) < 2:
            return taken[0] if taken else (None, None)
        (first, one), (second, other) = taken
        return first * second, self._key("product", *sorted((one, other)))

    def _scaled(self, value: Any, *description: Any) -> Scaled:
        """A value as it is; one that is a single number, as this number times one."""
        key = self._key(*description)
        if jnp.size(value) != 1:
            return Scaled(None, None, value, key)
        shape, dtype = jnp.shape(value), jnp.result_type(value)
        return Scaled(jnp.reshape(value, ()), key, jnp.ones(shape, dtype), self._key("one", shape, str(dtype)))

    def _key(self, *description: Any) -> int:
        """The number of what is so described."""
        return self._keys.setdefault(description, len(self._keys))
