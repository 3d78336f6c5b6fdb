"""The size of the solution and of each equation, from the conditions alone: what makes a problem free of its units.

A smooth trial function c + a phi, with phi half a wave or so along each side of the domain, stands for the solution.
The constant c is what the conditions ask for in the sense of least squares, and a is how large it must be so that
the conditions, and then the equations, change by as much as they leave at c. This is the textbook's way to
dimensionless form (Lin and Segel 1988, section 6.3), with the derivatives of the equations taken by JAX. Where an
equation bends, so that far less is enough, its values at smaller a tell: a reaction 3e7 y^2 makes up for what is left
long before y' does (dominant balance; Bender and Orszag 1978, section 3.4).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import QUICK, Program
from stiffgrad._types import Params
from stiffgrad.objective import Term
from stiffgrad.pde.conditions import residual_of
from stiffgrad.pde.networks import scalar
from stiffgrad.pde.points import Domain, some_of

Values = NDArray[np.float64]
SAMPLES = 64  # points of a term, at most
MODES = 4  # trial functions, each a cosine and a sine
ALIKE = 30.0  # entries of a condition are in different units where their sizes differ by more
CENTRAL = 3.0  # a constant so many times the size beside it is subtracted
TRIED = 10.0 ** np.arange(-24, 13)  # sizes at which equations are looked at
RAISED = 30.0  # what is so small beside what all equations ask of it is no size
BENT = 0.1  # an equation bends where this part of the size that its slope asks for is enough


class Scales(NamedTuple):
    """Units of a problem.

    Attributes
    ----------
    shift, size : tuple of float
        u = shift + size * (something of order one), for each component. Sizes are powers of ten, and shifts have two
        digits, so that they do not depend on how points are drawn; what is of order one has 0 and 1.
    terms : dict of str to tuple of float
        How large the entries of each condition are when u changes by `size`, relative to its first entry; powers of
        ten.
    """

    shift: tuple[float, ...]
    size: tuple[float, ...]
    terms: dict[str, tuple[float, ...]]


@dataclasses.dataclass(frozen=True)
class Trial:
    """The trial function as a network: parameters {"constant": (k,), "waves": (modes, k)}, and one point (d,)."""

    sides: Domain

    def __call__(self, params: Any, x: Any) -> Any:
        """The constant and its waves."""
        low, high = np.array(self.sides).T
        generator = np.random.default_rng(0)
        # Unequal along different sides: of equal ones a wave equation sees nothing.
        waves = np.pi * generator.uniform(0.5, 1.5, (MODES, len(low)))
        phase = waves @ ((jnp.asarray(x) - low) / (high - low))
        phi = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)])
        return scalar(params["constant"] + phi @ params["waves"])


def smooth(scales: Scales) -> dict[str, Values]:
    """Parameters of a trial function as large as the solution, with all its waves."""
    size = np.array(scales.size)
    return {"constant": np.array(scales.shift), "waves": np.full((2 * MODES, len(size)), MODES**-0.5) * size}


class _Seen(NamedTuple):
    """A term at c, for each of its entries j: what is left, and how it answers to the constant and the waves of i."""

    left: Values  # (N, j)
    constant: Values  # (N, j, i)
    waves: Values  # (j, i), root mean square over points and modes


def scales(terms: Mapping[str, Term], kinds: Mapping[str, str], sides: Domain, outputs: int, params: Params) -> Scales:
    """The units of a problem with these terms, whose residuals are those of any network with `outputs` components.

    A component that conditions make small may grow by what the others do to it: the imaginary part of a wave that
    starts as a real one. So a size is raised to what all equations ask where that is far larger.
    `params` gives the unknowns, where there are any. A problem whose equations are not finite at constants gets none.
    """
    interiors = tuple(name for name in terms if kinds[name] == "interior")
    data = tuple(name for name in terms if kinds[name] != "interior")
    none = Scales((0.0,) * outputs, (1.0,) * outputs, dict.fromkeys(terms, ()))
    looked = functools.partial(_look, terms, sides, outputs, params)
    first = looked(np.zeros(outputs), np.zeros(outputs))
    if first is None:
        return none
    shift = _constant([first[name] for name in data], outputs)
    at = looked(shift, np.zeros(outputs))
    if at is None:
        return none
    size = np.zeros(outputs)
    for name in data:
        size = np.maximum(size, _needed(_asked(at[name]), np.zeros(outputs), most=True))
    balance = functools.partial(_balance, functools.partial(looked, shift), interiors)
    size = np.maximum(size, _needed(balance(at, np.zeros(outputs)), size, most=False))
    if len(sides) == 1 and any(kinds[name] == "initial" for name in data):
        size = np.maximum(size, np.abs(shift))  # a start that is one point has no spread, and tells the size itself
    if np.any(size == 0) and np.any(size > 0):  # components that only others drive, such as a pressure
        driven = looked(shift, size)
        if driven is not None:
            size = np.where(size > 0, size, _needed(balance(driven, size), np.zeros(outputs), most=False))
    size = np.where(size > 0, size, np.abs(shift))
    for index in range(outputs if outputs > 1 else 0):
        others = np.where(np.arange(outputs) == index, 0.0, size)
        by_others = looked(shift, others)
        if by_others is not None:
            asked = balance(by_others, others)[:, index]
            least = np.min(asked[asked > 0], initial=np.inf)
            if RAISED * size[index] < least < np.inf:
                size[index] = least
    size = _powers(np.where(size > 0, size, 1.0))
    shift = np.where(np.abs(shift) > CENTRAL * size, [float(f"{value:.1e}") for value in shift], 0.0)
    entries = {name: _relative(at[name].waves @ size) for name in terms if kinds[name] != "observations"}
    return Scales(_tuple(shift), _tuple(size), {name: entries.get(name, ()) for name in terms})


def _relative(answers: Values) -> tuple[float, ...]:
    """Powers of ten over the first; 1 where there is no answer, or one of much the same size."""
    first = answers[0] if answers[0] > 0 else 1.0
    ratios = np.where(answers > 0, answers, first) / first
    return _tuple(np.where(np.abs(np.log10(ratios)) > np.log10(ALIKE), _powers(ratios), 1.0))


def _tuple(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _powers(values: Values) -> Values:
    """The nearest powers of ten."""
    return np.array([10.0 ** round(np.log10(value)) for value in values])


def _asked(seen: _Seen) -> Values:
    """How large component i must be for its waves to make up for what entry j leaves, by its slope, (j, i).

    0 where nothing is left, or the entry does not answer.
    """
    answers = seen.waves > 0
    return np.asarray(np.where(answers, _root_mean(seen.left)[:, None] / np.where(answers, seen.waves, 1.0), 0.0))


def _root_mean(left: Values) -> Values:
    return np.asarray(np.sqrt(np.mean(left**2, axis=0)))


def _balance(
    looked: Callable[[Values], dict[str, _Seen] | None], names: tuple[str, ...], at: Mapping[str, _Seen], size: Values
) -> Values:
    """The same for the entries of several terms, one below the other, and by their values where they bend.

    `looked(size)` is every term with waves of these sizes, and `at` what it gives for `size`.
    """
    if not names:
        return np.zeros((0, len(size)))
    asked = np.concatenate([_asked(at[name]) for name in names])
    left = np.concatenate([_root_mean(at[name].left) for name in names])

    def changes(larger: Values) -> Values:
        seen = looked(larger)
        if seen is None:
            return np.full(len(left), np.nan)
        return np.concatenate([_root_mean(seen[name].left - at[name].left) for name in names])

    for index, unit in enumerate(np.eye(len(size))):
        table = np.array([changes(size + tried * unit) for tried in TRIED])
        for entry, slope in enumerate(asked[:, index]):
            enough = _first_above(left[entry], table[:, entry])
            if enough < (BENT * slope if slope > 0 else np.inf):
                asked[entry, index] = enough
    return asked


def _first_above(left: float, changes: Values) -> float:
    """The smallest size at which something changes by as much as is left; infinite where none of TRIED does."""
    above = np.flatnonzero(changes >= left)
    if not left > 0 or not len(above):
        return float("inf")
    first = above[0]
    below = changes[first - 1] if first else 0.0
    if not below > 0:
        return float(TRIED[first])
    part = np.log(changes[first] / left) / np.log(changes[first] / below)  # of a decade, as a power of the size
    return float(TRIED[first] / 10.0**part)


def _constant(seen: list[_Seen], outputs: int) -> Values:
    """The constant that the conditions ask for, each entry in its own units; 0 where they do not care."""
    rows, left = [np.zeros((0, outputs))], [np.zeros(0)]
    for term in seen:
        unit = np.sqrt(np.mean(np.sum(term.constant**2, axis=2), axis=0))  # (j,)
        known = unit > 0
        weight = 1.0 / (unit[known] * np.sqrt(len(term.left)))
        rows.append((term.constant[:, known] * weight[:, None]).reshape(-1, outputs))
        left.append((term.left[:, known] * weight).ravel())
    return -np.asarray(np.linalg.lstsq(np.concatenate(rows), np.concatenate(left), rcond=1e-10)[0])


def _needed(asked_of: Values, size: Values, most: bool) -> Values:
    """How large each component must be for what its entries ask, (j, i), to be met; 0 where they ask nothing.

    An entry in which components with a size take part asks only the one that must grow least, in its own size, and of
    several the largest counts. Of entries that ask components without a size the largest counts where `most`, else
    the smallest: a weak coupling asks for much.
    """
    found = np.zeros_like(size)
    for asked in asked_of:
        sized = np.flatnonzero((asked > 0) & (size > 0))
        if len(sized):
            least = sized[np.argmin(asked[sized] / size[sized])]
            found[least] = max(found[least], asked[least])
        elif most:
            found = np.maximum(found, asked)
        else:
            found = np.where((found > 0) & (asked > 0), np.minimum(found, asked), np.maximum(found, asked))
    return found


def _look(
    terms: Mapping[str, Term], sides: Domain, outputs: int, params: Params, constant: Values, size: Values
) -> dict[str, _Seen] | None:
    """Every term at c, with waves of `size` in each component; None where one of them is not finite."""
    chosen = {name: some_of(len(term.samples), SAMPLES) for name, term in terms.items()}
    samples = {name: np.asarray(term.samples)[chosen[name]] for name, term in terms.items()}
    functions: Any = tuple(dataclasses.replace(residual_of(term), network=Trial(sides)) for term in terms.values())
    unknowns = params["unknowns"] if functions[0].inverse else {}
    start = {"constant": constant, "waves": np.full((2 * MODES, outputs), size / np.sqrt(MODES))}
    answers = _answers(functions, start, unknowns, tuple(samples.values()))
    seen = {}
    for (name, term), (left, slopes) in zip(terms.items(), answers, strict=True):
        left, by_constant, by_waves = (np.asarray(v, float) for v in (left, slopes["constant"], slopes["waves"]))
        if term.targets is not None:
            left = left - np.asarray(term.targets)[chosen[name]]
        if not all(np.all(np.isfinite(v)) for v in (left, by_constant, by_waves)):
            return None
        # Cosine and sine of a mode share its square.
        seen[name] = _Seen(left, by_constant, np.sqrt(2.0 * np.mean(by_waves**2, axis=(0, 2))))
    return seen


def _ask(functions: Any, start: Any, unknowns: Any, samples: Any) -> Any:
    """For each term what is left, (N, j), and its derivatives in the trial function's parameters, (N, j, ...)."""

    def one(function: Any, x: Any) -> Any:
        def residual(trial: Any) -> Any:
            return jnp.ravel(function({"network": trial, "unknowns": unknowns} if function.inverse else trial, x))

        return residual(start), jax.jacfwd(residual)(start)

    return [jax.vmap(functools.partial(one, f))(x) for f, x in zip(functions, samples, strict=True)]


_answers = Program(_ask, QUICK, static_argnums=0)
