"""Rows of the Jacobian as sums of outer products, found in the traced program of any model or residual.

A weight matrix enters a program by products with vectors: the inputs of its layer and, under a differential operator,
the derivatives of these inputs. The derivative of an output in the matrix is then the sum, over these products, of the
outer product of the vector and the derivative in what the product gives, its signal. One reverse pass over small
signals, batched over samples, replaces gradients in the weights; the Gram matrices of both factors give the kernel
without the Jacobian (Dangel et al. 2024, arXiv:2405.15603, for the Laplacian; here for every program that is traced).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from stiffgrad.objective import parallel

MOVED = ("transpose", "copy", "convert_element_type")


class Factors(NamedTuple):
    """The derivatives of outputs in one leaf of the parameters, for each output: a sum over p outer products.

    Attributes
    ----------
    left, right : arrays of shape (..., p, rows of the matrix), (..., p, columns)
        For a leaf that is no matrix, or enters otherwise: `left` is the derivative itself, (..., size), and `right` is
        None.
    """

    left: jax.Array
    right: jax.Array | None = None


class _Step(NamedTuple):
    """An equation of the program as a program of its own, its values numbered; literals are no inputs."""

    equation: Any
    program: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Use(NamedTuple):
    """A product of a leaf with something else: which leaf, the step, the other operand, and what it sums over."""

    leaf: int
    operand: int
    axis: int  # of the matrix, over which the product sums
    moved: tuple[int, int]  # axes of the operand and of the result that belong to the matrix


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of leaves (parameters) and a sample, as steps in which the products with leaves are known.

    Attributes
    ----------
    uses : dict
        By the number of a step. A leaf of a matrix that has any other use has no use here.
    """

    steps: tuple[_Step, ...]
    constants: dict[int, Any]
    inputs: tuple[int, ...]  # of leaves, then of the sample
    output: int
    uses: dict[int, _Use]

    @classmethod
    def of(cls, function: Callable[[Any, Any], jax.Array], leaves: Sequence[Any], sample: Any) -> Program:
        """Trace function(leaves, sample) -> (k,)."""
        shapes: Any = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (list(leaves), sample))
        traced = jax.make_jaxpr(lambda leaves, x: function(leaves, x))(*shapes)
        builder = _Builder()
        inputs = [builder.fresh() for _ in traced.jaxpr.invars]
        (output,) = builder.inline(traced.jaxpr, traced.consts, inputs)
        steps = _needed(builder.steps, output)
        return cls(steps, builder.constants, tuple(inputs), output, _uses(steps, inputs[: len(leaves)], leaves, output))

    def run(self, leaves: Sequence[Any], sample: Any, shifts: dict[int, Any]) -> tuple[jax.Array, dict[int, Any]]:
        """The output with `shifts` added to the products at these steps, and the vectors that leaves multiply there."""
        values = {**self.constants, **dict(zip(self.inputs, [*leaves, *jax.tree.leaves(sample)], strict=True))}
        seen = {}
        for number, step in enumerate(self.steps):
            found = jax.core.eval_jaxpr(step.program, (), *(values[i] for i in step.inputs))
            if number in self.uses:
                seen[number] = values[self.uses[number].operand]
                found = [found[0] + shifts[number]]
            values.update(zip(step.outputs, found, strict=True))
        return values[self.output], seen

    def factors(self, leaves: Sequence[Any], sample: Any) -> tuple[jax.Array, list[Factors]]:
        """The output (k,) at one sample, and for each leaf the factors of its derivatives, with a leading axis k."""
        known = {use.leaf for use in self.uses.values()}
        zero = {number: jnp.zeros(self._shape(number), leaves[0].dtype) for number in self.uses}
        others = {index: leaf for index, leaf in enumerate(leaves) if index not in known}

        def run(shifts: Any, others: Any) -> Any:
            return self.run([others.get(index, leaf) for index, leaf in enumerate(leaves)], sample, shifts)

        output, pull, seen = jax.vjp(run, zero, others, has_aux=True)
        structure = jax.tree.structure((zero, others))

        def row(unit: jax.Array) -> list[Factors]:
            results = parallel.scaled_results(lambda cotangent: jax.tree.leaves(pull(cotangent)), unit)
            signals, slopes = jax.tree.unflatten(structure, results)
            return [
                self._of_leaf(index, signals, seen) if index in known else Factors(slopes[index].value.ravel())
                for index in range(len(leaves))
            ]

        return output, jax.vmap(row)(jnp.eye(output.shape[0], dtype=output.dtype))

    def _shape(self, number: int) -> tuple[int, ...]:
        return tuple(self.steps[number].equation.outvars[0].aval.shape)

    def _of_leaf(self, leaf: int, signals: dict[int, parallel.Scaled], seen: dict[int, Any]) -> Factors:
        """The outer products of one output and one leaf; those whose signals are parallel become one."""
        signal_of: dict[Any, jax.Array] = {}
        vector_of: dict[Any, jax.Array] = {}
        for number, use in self.uses.items():
            if use.leaf == leaf:
                signal, key = signals[number], (signals[number].key, use.axis, use.moved)
                vector = seen[number] if signal.factor is None else signal.factor * seen[number]
                vector = _as_rows(vector, use.moved[0])
                vector_of[key] = vector_of[key] + vector if key in vector_of else vector
                signal_of[key] = _as_rows(signal.array, use.moved[1])
        left, right = [], []
        for key, rows in signal_of.items():
            pair = rows, vector_of[key]
            left.append(pair[1 - key[1]])
            right.append(pair[key[1]])
        return Factors(jnp.concatenate(left), jnp.concatenate(right))


def _as_rows(array: jax.Array, axis: int) -> jax.Array:
    """One axis last, all others as rows."""
    return jnp.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


class _Builder:
    """Makes one flat list of steps of a program and those that it calls; what is computed twice becomes one."""

    def __init__(self) -> None:
        self.steps: list[_Step] = []
        self.constants: dict[int, Any] = {}
        self._count = itertools.count()
        self._known: dict[Any, Any] = {}

    def fresh(self) -> int:
        return next(self._count)

    def inline(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[int]) -> list[int]:
        """Add the steps of a program; numbers of its outputs."""
        numbers = dict(zip(jaxpr.invars, inputs, strict=True))
        numbers.update(zip(jaxpr.constvars, map(self._constant, constants), strict=True))

        def number(atom: Any) -> int:
            return self._constant(atom.val) if isinstance(atom, Literal) else numbers[atom]

        for equation in jaxpr.eqns:
            inner = parallel.called(equation)
            if inner is not None:
                results: Sequence[int] = self.inline(inner.jaxpr, inner.consts, [number(v) for v in equation.invars])
            else:
                program, places = parallel.alone(jaxpr, equation)
                literals = tuple((i, repr(v)) for i, v in enumerate(equation.invars) if isinstance(v, Literal))
                results = self._step(
                    _Step(equation, program, tuple(number(equation.invars[i]) for i in places), ()), literals
                )
            numbers.update(zip(equation.outvars, results, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _step(self, step: _Step, literals: Any) -> Sequence[int]:
        equation = step.equation
        key: Any = equation.primitive, literals, step.inputs, tuple(sorted(equation.params.items(), key=lambda p: p[0]))
        try:
            if not equation.effects and key in self._known:
                return self._known[key]
        except TypeError:  # a parameter that has no hash
            key = object()
        results = tuple(self.fresh() for _ in equation.outvars)
        self.steps.append(step._replace(outputs=results))
        self._known[key] = results
        return results

    def _constant(self, value: Any) -> int:
        key: Any = id(value)
        if isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(value, jax.core.Tracer):
            if jnp.issubdtype(value.dtype, np.number) or value.dtype == bool:
                key = str(value.dtype), value.shape, np.asarray(value).tobytes(), getattr(value, "weak_type", False)
        elif isinstance(value, bool | int | float):
            key = type(value).__name__, repr(value)
        if key not in self._known:
            self._known[key] = self.fresh()
            self.constants[self._known[key]] = value  # kept, so that its id stays its own
        return self._known[key]


def _needed(steps: Sequence[_Step], output: int) -> tuple[_Step, ...]:
    """The steps that the output depends on."""
    wanted, kept = {output}, []
    for step in reversed(steps):
        if wanted & set(step.outputs) or step.equation.effects:
            wanted |= set(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))


def _uses(steps: Sequence[_Step], numbers: Sequence[int], leaves: Sequence[Any], output: int) -> dict[int, _Use]:
    """The products with each matrix among the leaves, where it has no other use."""
    # number of a value: leaf, and the leaf's axis of each of its axes
    views = {n: (i, (0, 1)) for i, (n, leaf) in enumerate(zip(numbers, leaves, strict=True)) if leaf.ndim == 2}
    uses: dict[int, _Use] = {}
    spoilt = {views[output][0]} if output in views else set()
    for number, step in enumerate(steps):
        tracked = [place for place, value in enumerate(step.inputs) if value in views]
        if not tracked:
            continue
        leaf, axes = views[step.inputs[tracked[0]]]
        equation = step.equation
        if equation.primitive.name in MOVED and equation.invars[0].aval.dtype == equation.outvars[0].aval.dtype:
            order = equation.params.get("permutation", (0, 1))
            views[step.outputs[0]] = leaf, (axes[order[0]], axes[order[1]])
            continue
        use = _product(step, tracked[0], leaf, axes) if len(tracked) == 1 else None
        if use is None:
            spoilt |= {views[step.inputs[place]][0] for place in tracked}
        else:
            uses[number] = use
    return {number: use for number, use in uses.items() if use.leaf not in spoilt}


def _product(step: _Step, place: int, leaf: int, axes: tuple[int, int]) -> _Use | None:
    """The use of a matrix in a step that sums over one of its axes; None for any other step."""
    equation = step.equation
    if equation.primitive.name != "dot_general":
        return None
    contracted, batch = equation.params["dimension_numbers"]
    other = 1 - place
    if batch[0] or batch[1] or len(contracted[0]) != 1:
        return None
    kept = 1 - contracted[place][0]  # the axis of the matrix that stays
    # The result has the free axes of the left operand, then those of the right one.
    position = 0 if place == 0 else equation.outvars[0].aval.ndim - 1
    return _Use(leaf, step.inputs[other], axes[1 - kept], (contracted[other][0], position))
