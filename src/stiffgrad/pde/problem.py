"""A problem: a domain, conditions and a network, made into an objective with balanced terms."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import QUICK, Program
from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.interop import Carrier, carry
from stiffgrad.objective import Objective, Term
from stiffgrad.objective.dense import Perceptron, recognised
from stiffgrad.objective.derivatives import Block
from stiffgrad.objective.networks import MLP
from stiffgrad.objective.parameters import Layout
from stiffgrad.pde._numpy import numpys, traced, wrap
from stiffgrad.pde.conditions import Condition, Residual, Solution, in_units, moved, residual_of, term_of, time_axis
from stiffgrad.pde.fast import Stretched, fastest
from stiffgrad.pde.jumps import jumps, kinks, order
from stiffgrad.pde.networks import Network, check_smooth, network, units
from stiffgrad.pde.pace import pace
from stiffgrad.pde.points import Points, between, box, check_inside, interior_points, some_of
from stiffgrad.pde.scales import scales
from stiffgrad.pde.slices import at_points, energy, left, plain

TRACE_SAMPLES = 256  # so many samples of a term tell the trace of its kernel to some per cent
OUTLIER = 100.0
HELD_OUT_SEED = 2**20  # far from the seeds of the points that are trained on
MOST_HELD_OUT = 1024
HIDDEN = (20, 20)
UNSEEN = 1e-8  # a change of all residuals, in units of the solution


class Problem:
    """Equations, conditions and a network, ready for `pde.solve`; `objective` goes to every `stiffgrad` function.

    Parameters
    ----------
    domain : sequence of (low, high)
        One pair for each coordinate.
    conditions : sequence of Condition
        From `interior`, `boundary`, `initial` and `observations`.
    network : sequence of int, a pair (network, params) or a model, optional
        Units of the hidden layers, by default (20, 20); or what `pde.network`, `stiffgrad.mlp` or any other
        apply(params, x) -> outputs of one point gives, with its start; or a model of Equinox, Flax or PyTorch, of Flax
        Linen as a pair (module, variables), which comes back as `Solution.model`.
    outputs : int
        Components of the solution; where a network is given, it says so itself.
    unknowns : mapping of str to number or array, optional
        Coefficients to be found together with the solution, and their start. Equations see them as `p`.
    balance : bool
        Weigh the terms so that their kernels have equal traces at the start: see `weights`; and the entries of a list
        by their units, see `scales`. False: weights as given.
    seed : int
        Of the network's start and of the points.
    dtype : "float64" or "float32"
        The number type of everything.

    Attributes
    ----------
    objective : Objective
        E = sum over conditions of weight * mean of 1/2 |residual|^2.
    weights : dict of str to float
        What each condition's term is multiplied by: its own weight times the balance. `balance` makes the mean of
        |d residual / d parameters|^2 over a term's points, the trace of its Gauss-Newton matrix, the same for all
        (Wang, Yu, Perdikaris 2022, section 6): that of the network's outputs, so that the loss has no unit, and its
        root is about the relative error. Observations keep their own weight beside the equation of the largest trace.
    scales : Scales
        The units found in the conditions: `scales.shift + scales.size * (a network's outputs)` is the solution, where
        no network was given; `scales.terms` divides the entries of a condition.
    points : dict of str to array
        The points of each condition.
    params : pytree
        The start: the network's, or {"network": ..., "unknowns": ...} with unknowns.
    time : int or None
        The coordinate of time, where there is an initial condition.
    times : Stretched or None
        How points and parts of the time lie, where an ordinary differential equation is stiff.
    jumps : dict of str to Jumps
        Where interior equations jump, and whether they differentiate there what jumps.
    restore : callable or None
        Makes a model of the kind that was given from the network's parameters; None where no model was.
    held_out : Objective or None
        The interior equations, and the conditions on faces, on points that are not trained on: drawn in the domain, or,
        where an equation's points were given, so that its region is not known, halfway between neighbours. None where
        there are no two points inside.

    Raises
    ------
    ValueError, TypeError
        Before any long work: bad domains, points outside of it, conditions without points, equations that fail, and
        values or residuals of the wrong shape.

    Examples
    --------
    >>> from stiffgrad import pde
    >>> decay = pde.interior(lambda u, t: pde.derivative(u, t) + 3 * u(t), points=32)
    >>> problem = pde.Problem([(0, 2)], [decay, pde.initial(1.0)], network=[8])
    >>> problem.objective
    Objective(25 parameters, 33 outputs over all samples, squared, squared, float64)
    """

    @float64
    def __init__(
        self,
        domain: Any,
        conditions: Sequence[Condition],
        network: Any = None,
        *,
        outputs: int = 1,
        unknowns: Mapping[str, Any] | None = None,
        balance: bool = True,
        seed: int = 0,
        dtype: str = "float64",
    ) -> None:
        self.domain = box(domain)
        self.conditions = _named(conditions)
        self.inverse = unknowns is not None
        if isinstance(network, list) and len(network) == 2 and callable(network[0]):
            network = tuple(network)
        carrier = _carrier(network, len(self.domain))
        self.restore = None if carrier is None else carrier.restore
        if carrier is not None:
            network = carrier.function, carrier.params
        own = not isinstance(network, tuple)  # made here, so that its outputs can be given the units of the problem
        self.network, weights = _network(network, self.domain, outputs, seed)
        if isinstance(self.network, MLP) and any(c.kind == "interior" for c in self.conditions.values()):
            check_smooth(self.network.activation)
        self.hidden: tuple[int, ...] | None = (HIDDEN if network is None else tuple(network)) if own else None
        self.params: Params = weights
        if unknowns is not None:
            self.params = {"network": weights, "unknowns": _unknowns(unknowns)}
        self.observed = tuple(name for name, c in self.conditions.items() if c.kind == "observations")
        self.time = time = time_axis(list(self.conditions.values()), self.domain)
        self.points: dict[str, Points] = {
            name: condition.place(self.domain, name, time, seed + 1000 * index)
            for index, (name, condition) in enumerate(self.conditions.items())
        }
        self._dtype = dtype
        terms = {
            name: term_of(condition, name, self.network, self.params, self.inverse, self.points[name])
            for name, condition in self.conditions.items()
        }
        self.scales = scales(
            terms, {n: c.kind for n, c in self.conditions.items()}, self.domain, self._outputs(), self.params
        )
        self.interiors = tuple(name for name, c in self.conditions.items() if c.kind == "interior")
        self.drawn = tuple(name for name in self.interiors if self.conditions[name].drawn)
        self.times: Stretched | None = None
        self.jumps = {name: jumps(terms[name], self.domain, self.scales, self.params) for name in self.interiors}
        if own:
            seen = [terms[name] for name in self.interiors], self.domain, self.scales, self.params
            features: dict[str, Any] = {}
            if bends := kinks(self.jumps, self.domain):
                features |= {"kinks": bends, "smooth": order(*seen) - 1}
            if len(self.domain) == 1 and time is not None and (fast := fastest(*seen)):
                features |= {"fast": fast}
                self.times = Stretched(*self.domain[0], fast)
                for name in self.drawn:
                    self.points[name] = self.times.time(
                        (self.points[name] - self.domain[0][0]) / np.ptp(self.domain[0])
                    )
                    terms[name] = moved(terms[name], self.conditions[name], name, self.points[name])
            if features:
                self.network, weights = _network(network, self.domain, outputs, seed, **features)
            shift, size = units(self.scales.shift, self.scales.size, len(self.scales.size))
            self.network = dataclasses.replace(self.network, shift=shift, size=size)
        if isinstance(self.network, Network) and time is not None and len(self.domain) > 1:
            starts = {name: (terms[name], c) for name, c in self.conditions.items() if c.kind == "initial"}
            equations = [terms[name] for name in self.interiors]
            width = self.network.mlp.sizes[1]
            sharpness = pace(equations, starts, self.domain, time, self.scales, self.params, width)
            weights = self.network.begun(weights, sharpness)
        self.params = {**self.params, "network": weights} if self.inverse else weights
        terms = {
            name: in_units(term, self.network, self.scales.terms[name] if balance else ())
            for name, term in terms.items()
        }
        if balance:
            terms = self._balanced(terms)
        objective = Objective(self.params, list(terms.values()), dtype=dtype)
        self.objective = objective
        self.weights: dict[str, float] = {name: float(term.weight) for name, term in terms.items()}
        self._terms = terms
        self.faces = tuple(name for name, c in self.conditions.items() if self._on_faces(c))
        self._fresh = self._fresh_points(seed)
        self.held_out = self.held_out_until(1.0)

    @property
    def terms(self) -> Mapping[str, Term]:
        """The conditions by name, as terms of the objective."""
        return self._terms

    @property
    def divisible(self) -> bool:
        """Whether its time can be divided: an ordinary equation from a start, with a network that is made here."""
        drawn = bool(self.interiors) and self.drawn == self.interiors
        return self.time is not None and self.hidden is not None and self._plain and drawn

    @property
    def _plain(self) -> bool:
        """Whether it is an ordinary equation without unknowns or data, in numbers precise enough for 1e-11."""
        return len(self.domain) == 1 and not (self.inverse or self.observed) and self._dtype == "float64"

    @property
    def stops(self) -> NDArray[np.float64]:
        """Times inside of the interval at which an ordinary equation jumps."""
        return np.array(kinks(self.jumps, self.domain))

    @float64
    def with_network(self, network: Any, params: Params) -> Problem:
        """The same problem for another network of as many components."""
        other = copy.copy(self)
        other.network, other.params, other.times = network, params, None
        other._terms = {
            name: dataclasses.replace(term, function=dataclasses.replace(residual_of(term), network=network))
            for name, term in self._terms.items()
        }
        other.objective = Objective(params, list(other._terms.values()), dtype=self._dtype)
        other.held_out = other.held_out_until(1.0)
        return other

    def _on_faces(self, condition: Condition) -> bool:
        """Whether it holds between its points as well: on faces, drawn there, which are more than single points."""
        return len(self.domain) > 1 and condition.drawn and condition.kind in ("boundary", "initial")

    def of_network(self, params: Params) -> Params:
        """The network's own parameters, without the unknowns of an inverse problem."""
        return params["network"] if self.inverse else params

    def _outputs(self) -> int:
        """How many components the solution has."""
        weights = self.of_network(self.params)
        return int(np.size(jax.eval_shape(self.network, weights, np.array(self.domain)[:, 0])))

    def _balanced(self, terms: dict[str, Term]) -> dict[str, Term]:
        """Heavier terms, whose Gauss-Newton matrices have equal traces, and a loss without units.

        Observations are noisy and equations exact: what is noisy must not bend what is exact.
        """
        # Values of the network itself, in units of the solution, are what all are compared to.
        residual = Residual(self.network, None, 2, self.inverse, self.scales.size)
        values = Term(residual, interior_points(self.domain, TRACE_SAMPLES))
        *traces, whole = term_traces(Objective(self.params, [*terms.values(), values], dtype=self._dtype))
        largest = max([trace for trace in traces if _scale(trace)], default=0.0)
        common = whole / largest if largest > 0 and _scale(whole) else 1.0
        return {
            name: _heavier(term, common * (largest / trace if _scale(trace) and name not in self.observed else 1.0))
            for (name, term), trace in zip(terms.items(), traces, strict=True)
        }

    def _fresh_points(self, seed: int) -> dict[str, Points]:
        """Points inside and on faces that are not trained on; none where there are no two points inside."""
        if not self.interiors or any(len(self.points[name]) < 2 for name in self.interiors):
            return {}

        def fresh(index: int, name: str) -> Points:
            points = self.points[name]
            if name in self.drawn + self.faces:
                return self.draw(name, min(len(points), MOST_HELD_OUT), "sobol", seed + HELD_OUT_SEED + index)
            return between(points)[some_of(len(points), MOST_HELD_OUT)]

        return {name: fresh(index, name) for index, name in enumerate(self.interiors + self.faces)}

    def draw(self, name: str, count: int, sampling: str, seed: int) -> Points:
        """So many points of a condition whose points are drawn."""
        points = self.conditions[name].draw(self.domain, name, self.time, count, sampling, seed)
        if self.times is None or name not in self.interiors:
            return points
        (low, high) = self.domain[0]
        return self.times.time((points - low) / (high - low))

    def held_out_until(self, part: float) -> Objective | None:
        """`held_out`; or the equations alone in the first part of the time interval."""
        if not self._fresh:
            return None
        names = self.interiors + (self.faces if part == 1.0 else ())
        terms = [
            self._moved(name, self.until(part, self._fresh[name]) if name in self.interiors else self._fresh[name])
            for name in names
        ]
        return Objective(self.params, terms, dtype=self._dtype)

    def looked_at(self) -> list[Term]:
        """All terms, on points that are not trained on where there are such: inside as many as are held out at most."""

        def points(name: str) -> Points:
            if name in self.drawn:
                return self.draw(name, MOST_HELD_OUT, "sobol", HELD_OUT_SEED)
            return self._fresh[name]

        return [self._moved(name, points(name)) if name in self._fresh else term for name, term in self._terms.items()]

    def _moved(self, name: str, points: Points) -> Term:
        return moved(self._terms[name], self.conditions[name], name, points)

    def sharper(self, times: float) -> Params | None:
        """The start with its first layer's units so many times sharper; None for a network of another kind."""
        if times == 1.0:
            return self.params
        if not isinstance(self.network, Network):
            return None
        weights = self.of_network(self.params)
        sharp = self.network.sharper(weights, times)
        return {**self.params, "network": sharp} if self.inverse else sharp

    @float64
    def free_constants(self, params: Params) -> tuple[int, ...]:
        """Components to which any constant may be added, because no residual changes: a pressure without a value.

        Seen at `params`, for networks of `pde.network` without a transform.
        """
        if not isinstance(self.network, Network) or self.network.transform is not None:
            return ()
        weights = self.of_network(params)
        seen = lambda params: np.concatenate([r.ravel() for r in left(self.objective, self.objective.flatten(params))])  # noqa: E731
        before = seen(params)

        def unseen(index: int) -> bool:
            bias = np.array(weights[-1]["bias"])
            bias[index] += 1.0
            moved = [*weights[:-1], {**weights[-1], "bias": bias}]
            other = {**params, "network": moved} if self.inverse else moved
            return bool(np.linalg.norm(seen(other) - before) <= UNSEEN)

        return tuple(index for index in range(len(self.scales.size)) if unseen(index))

    def inside(self, points: Mapping[str, Points]) -> int:
        """How many points lie inside."""
        return sum(len(points[name]) for name in self.interiors)

    def some_points(self, count: int) -> dict[str, Points]:
        """At most so many points of each interior condition that draws its own, spread as all of them are."""
        chosen = {}
        for name in self.drawn:
            points = self.points[name]
            if self.conditions[name].sampling != "sobol":  # whose first points are spread evenly themselves
                points = np.random.default_rng(0).permutation(points)
            chosen[name] = points[:count]
        return chosen

    def marched(self, part: float, points: Mapping[str, Points] | None = None) -> dict[str, Points]:
        """The points with the times of interior ones moved into the first part of the time interval."""
        points = {name: self.points[name] for name in self.interiors} if points is None else points
        return {name: self.until(part, some) if name in self.interiors else some for name, some in points.items()}

    @property
    def lengthens(self) -> bool:
        """Whether it can be solved on a shorter interval first: an ordinary equation between two ends, nothing else."""
        drawn = bool(self.interiors) and all(condition.drawn for condition in self.conditions.values())
        return self.time is None and self._plain and drawn

    def shortened(self, part: float) -> dict[str, Points]:
        """The points of all conditions, moved into the first part of an interval: its far end is nearer."""
        low = self.domain[0][0]
        return {name: low + part * (points - low) for name, points in self.points.items()}

    def until(self, part: float, points: Points) -> Points:
        """Points with their times moved into the first part of the time interval."""
        moved = points.copy()
        if self.times is not None and part < 1.0:
            return self.times.time(part * self.times.part(points))
        if self.time is not None:
            first = self.domain[self.time][0]
            moved[:, self.time] = first + part * (moved[:, self.time] - first)
        return moved

    @float64
    def with_points(self, points: Mapping[str, Points], params: Params, share: float = 1.0) -> Objective:
        """The objective on other points for some conditions, started from `params`.

        The same number of points shares compiled code. Interior equations weigh `share` of what they do otherwise.

        Raises
        ------
        ValueError
            Where a name is unknown, or a point lies outside of the domain.
        """
        terms = dict(self._terms)
        known = list(self.conditions) if self.lengthens else [*self.interiors, *self.faces]
        for name, replaced in points.items():
            if name not in known:
                raise ValueError(f"points of {name!r} cannot be replaced; only of {', '.join(known)}")
            terms[name] = self._moved(name, check_inside(self.domain, replaced, f"{name}: points"))
        for name in self.interiors:
            terms[name] = dataclasses.replace(terms[name], weight=share * terms[name].weight)
        return Objective(params, list(terms.values()), dtype=self._dtype)

    @float64
    def residual(self, name: str, params: Params, points: Any) -> np.ndarray:
        """What a condition leaves at some points, (N, k), unweighted."""
        function, _ = plain(residual_of(self._terms[name]))
        residual = at_points(function, params, np.asarray(points, self.objective.w0.dtype))
        return residual - self._values(name, points) if self.conditions[name].value is not None else residual

    def check_start(self) -> None:
        """Raise ValueError where a condition is not finite at the start, with one of its points."""
        if np.isfinite(float(energy(self.objective, self.objective.w0))):
            return
        for name, points in self.points.items():
            finite = np.all(np.isfinite(self.residual(name, self.params, points)), axis=1)
            if not np.all(finite):
                first = points[int(np.argmin(finite))]
                raise ValueError(
                    f"{name!r} is not finite at the start, where u({first.tolist()}) is "
                    f"{self.evaluate(self.params, first).tolist()}: does a log, a root or a division leave its domain? "
                    "A u that stays positive is made by pde.network(domain, transform=lambda z, n: np.exp(n)), and "
                    "np.sqrt(np.maximum(u(z), 1e-12)) is defined everywhere"
                )

    def _values(self, name: str, points: Any) -> np.ndarray:
        term = self._moved(name, np.asarray(points, float))
        return np.asarray(term.targets) * np.array(residual_of(term).units or 1.0)

    @float64
    def evaluate(self, params: Params, points: Any) -> Any:
        """The solution at points of shape (N, d), a grid (..., d) or one (d,), with the parameters `params`.

        In one dimension (N,) will do. Operators such as `derivative` give one point that is traced.
        """
        weights = self.of_network(params)
        function = Solution(self.network, weights)
        if traced(points):
            return wrap(function(points)) if numpys(points) else function(points)
        where = np.asarray(points, float)
        if len(self.domain) == 1 and where.ndim == 1 and len(where) != 1:
            where = where[:, None]
        if where.ndim == 1 and len(where) == len(self.domain):
            return np.asarray(function(where))
        if where.ndim > 2 and where.shape[-1] == len(self.domain) and where.size:
            values = self.evaluate(params, where.reshape(-1, len(self.domain)))
            return values.reshape(*where.shape[:-1], *values.shape[1:])
        if where.ndim != 2 or where.shape[1] != len(self.domain):
            raise ValueError(f"points have shape {where.shape}; give (N, {len(self.domain)}), one row for each point")
        values = at_points(self.network, weights, where.astype(self.objective.w0.dtype))
        return values[:, 0] if values.shape[1:] == (1,) else values

    def __repr__(self) -> str:
        lines = [f"Problem on {' x '.join(f'[{low:g}, {high:g}]' for low, high in self.domain)}: {self.objective}"]
        if any(self.scales.shift) or set(self.scales.size) != {1.0}:
            units = zip(self.scales.shift, self.scales.size, strict=True)
            lines.append(f"  solution near {', '.join(f'{shift:g} + {size:g} * (-1 to 1)' for shift, size in units)}")
        for name, points in self.points.items():
            lines.append(f"  {name:14} {len(points):6} points, weight {self.weights[name]:.3g}")
        return "\n".join(lines)


def _named(conditions: Any) -> dict[str, Condition]:
    if not isinstance(conditions, Sequence) or not all(isinstance(c, Condition) for c in conditions):
        raise TypeError(
            "conditions must be a list of pde.interior(...), pde.boundary(...), pde.initial(...) and others"
        )
    if not conditions:
        raise ValueError("conditions is empty: give at least the equation, as pde.interior(equation)")
    named: dict[str, Condition] = {}
    for condition in conditions:
        name, number = str(condition.name), 2
        while name in named:
            name, number = f"{condition.name} {number}", number + 1
        named[name] = condition
    return named


def _heavier(term: Term, factor: float) -> Term:
    return dataclasses.replace(term, weight=term.weight * factor)


def _carrier(given: Any, inputs: int) -> Carrier | Perceptron | None:
    """A model of a framework, taken apart; None for any other network."""
    module, variables = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    carrier = carry(module, variables)
    if carrier is not None and variables is not None and not carrier.takes_variables:
        raise TypeError(f"{carrier.kind} holds its own parameters: give it alone, as network=model")
    return None if carrier is None else recognised(carrier, jax.ShapeDtypeStruct((inputs,), np.dtype(float)))


def _network(given: Any, domain: Any, outputs: int, seed: int, **features: Any) -> tuple[Any, Params]:
    if given is None:
        return network(domain, outputs=outputs, seed=seed, **features)
    if isinstance(given, tuple) and len(given) == 2 and callable(given[0]):
        apply, params = given
        if isinstance(apply, Network) and apply.sides != domain:
            raise ValueError(f"the network was made for the domain {list(apply.sides)}, the problem has {list(domain)}")
        if any(callable(leaf) for leaf in jax.tree.leaves(params)):
            raise TypeError(
                "network=(function, params): params must hold arrays only, and there is a function in it. Of a model "
                "give the model itself, as network=model"
            )
        return apply, params
    if isinstance(given, Network) or callable(given):
        raise TypeError(
            "network must be a pair (network, params), as pde.network(...) returns it, with network(params, x) for ONE "
            "point x; or a model of Equinox, Flax or PyTorch"
        )
    return network(domain, given, outputs, seed=seed, **features)


def _unknowns(unknowns: Any) -> dict[str, np.ndarray]:
    if not isinstance(unknowns, Mapping) or not unknowns:
        raise TypeError(f"unknowns={unknowns!r} must be a dict of names and starts, as {{'k': 1.0}}")
    try:
        values = {str(name): np.asarray(value, float) for name, value in unknowns.items()}
    except (TypeError, ValueError):
        raise TypeError(f"unknowns={unknowns!r}: every start must be a number or an array of numbers") from None
    return values


def _scale(trace: float) -> bool:
    """Whether a trace tells a scale: a term that no parameter moves has none."""
    return 0 < trace < np.inf


def term_traces(objective: Objective) -> list[float]:
    """The trace of each term's Gauss-Newton matrix, over its weight."""
    return [float(trace) for trace in _traces_of(objective.layout, objective.w0, _thinned(objective))]


def _thinned(objective: Objective) -> list[Block]:
    """The terms with at most TRACE_SAMPLES of their samples, each with a coefficient of 1 over their number."""

    def some(block: Block) -> Block:
        def flat(leaf: Any) -> Any:
            leaf = leaf.reshape(-1, *leaf.shape[2:]) if block.chunked else leaf
            return np.asarray(leaf)[some_of(len(leaf), TRACE_SAMPLES)]

        samples, targets = jax.tree.map(flat, (block.samples, block.targets))
        count = len(jax.tree.leaves(samples)[0])
        return Block(samples, targets, jnp.asarray(np.full(count, 1.0 / count), float), block.function, block.loss)

    return [some(block) for block in objective.blocks]


def _traces(layout: Layout, w: Any, blocks: list[Block]) -> list[jax.Array]:
    """The trace of each term's Gauss-Newton matrix: the sum of the squares of its Jacobian's entries, scaled.

    A sample counts as at most OUTLIER times the median one: where a start comes near to a pole of an equation, as with
    u / (K + u), that one point says nothing about a scale.
    """

    def trace(block: Block) -> jax.Array:
        outputs = lambda w, x: jnp.ravel(block.function(layout.unflatten(w), x))  # noqa: E731
        jacobian = jax.vmap(jax.jacrev(outputs), in_axes=(None, 0))(w, block.samples)
        squares = jnp.sum(jacobian**2, axis=(1, 2))
        most = OUTLIER * jnp.median(squares)
        return jnp.sum(jnp.where(most > 0, jnp.minimum(squares, most), squares) * block.coefficients)

    return [trace(block) for block in blocks]


# What runs a few times is compiled quickly.
_traces_of = Program(_traces, QUICK, static_argnums=0)
