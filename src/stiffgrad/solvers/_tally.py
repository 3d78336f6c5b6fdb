"""What a method has evaluated, and what that costs: the one place where compiled code counts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from stiffgrad._arrays import namespace
from stiffgrad.objective import Objective

COLUMNS = (
    "steps",
    "rejected_steps",
    "rhs_evaluations",
    "loss_evaluations",
    "hessian_products",
    "jacobian_evaluations",
    "factorizations",
    "linear_solves",
    "presentations",
    "cost",
)


DENSE_SPEED = 1.5  # of a matrix product, against a gradient of as many operations


COUNTED = (
    "steps", "rejected", "gradients", "losses", "products", "jacobians", "hessians", "factorizations", "solves",
    "singles",
)  # fmt: skip


class Tally(NamedTuple):
    """Cumulative counts, whole numbers, each to be had by its name.

    Attributes
    ----------
    counts : array
        All of them: as one array they are one operation of a compiled step.
    steps, rejected : scalars
        Points accepted, and trials that were not.
    gradients, losses, products : scalars
        Evaluations of the energy with its gradient, of the energy alone, and products with a curvature matrix.
    jacobians, hessians : scalars
        Jacobians of the outputs, and dense Hessians.
    factorizations, solves : scalars
        Of shifted dense matrices, and with them.
    singles : scalar
        Those of the gradients that were evaluated in float32.
    """

    counts: Any

    @classmethod
    def zero(cls) -> Tally:
        """Nothing yet."""
        return cls(np.zeros(len(COUNTED), np.int64))

    def __getattr__(self, name: str) -> Any:
        if name not in COUNTED:
            raise AttributeError(f"a tally has no count {name!r}: it has {', '.join(COUNTED)}")
        return self.counts[COUNTED.index(name)]

    def plus(self, **more: Any) -> Tally:
        """With more of the named counts; truth values count as 0 or 1."""
        xp = namespace(self.counts)
        added = [xp.asarray(more.pop(name, 0)).astype(np.int64) for name in COUNTED]
        assert not more, f"no such counts: {', '.join(more)}"
        return Tally(self.counts + xp.stack(added))

    def presentations(self, objective: Objective) -> Any:
        """Of the training set, as `Statistics` defines them."""
        products = 2 * self.products + objective.outputs * self.jacobians + 2 * objective.size * self.hessians
        return self.gradients + self.losses + products

    def row(self, objective: Objective, prices: Prices) -> dict[str, Any]:
        """The columns of the trace."""
        return {
            "steps": self.steps,
            "rejected_steps": self.rejected,
            "rhs_evaluations": self.gradients,
            "loss_evaluations": self.losses,
            "hessian_products": self.products,
            "jacobian_evaluations": self.jacobians + self.hessians,
            "factorizations": self.factorizations,
            "linear_solves": self.solves,
            "presentations": self.presentations(objective),
            "cost": prices.of(self),
        }


class Prices(NamedTuple):
    """What one of each costs, in gradients: counted from shapes, never timed, so that a run repeats exactly."""

    gradient: float = 1.0  # with the work on vectors and matrices that comes with it
    loss: float = 0.5
    product: float = 1.0
    single: float = 0.5  # a gradient in float32
    jacobian: float = 1.0
    hessian: float = 1.0
    factorization: float = 0.0

    def of(self, tally: Tally) -> Any:
        """The cost of all that was counted."""
        return (
            self.gradient * tally.gradients
            - (1.0 - self.single) * tally.singles
            + self.loss * tally.losses
            + self.product * tally.products
            + self.jacobian * tally.jacobians
            + self.hessian * tally.hessians
            + self.factorization * tally.factorizations
        )


def dense_prices(objective: Objective, matrix_flops: float, side: float) -> Prices:
    """Prices where a Jacobian is made into a matrix with `matrix_flops` operations, and factored as `side` x `side`.

    A matrix product runs `DENSE_SPEED` times as fast as a gradient of as many operations.
    """
    unit = objective.gradient_flops * DENSE_SPEED
    factorization = side**3 / 3.0 / unit
    return Prices(
        jacobian=objective.outputs + matrix_flops / unit,
        hessian=2.0 * objective.size,
        factorization=factorization,
    )
