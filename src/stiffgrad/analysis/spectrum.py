"""The density of the Hessian's eigenvalues by stochastic Lanczos quadrature."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad._float64 import float64
from stiffgrad._types import Params
from stiffgrad.analysis._modes import flat_point, hessian_product, lanczos, positive_whole, tridiagonal_eigen
from stiffgrad.objective import Objective

Vector = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """What `spectrum` found.

    Attributes
    ----------
    grid, density : array of shape (points,)
        Eigenvalues, and the share of them per unit of eigenvalue; integrates to 1.
    nodes, weights : array of shape (k,)
        The quadrature itself: the share `weights[i]` of all eigenvalues near `nodes[i]`; the weights add up to 1.
    eigenvalue_min, eigenvalue_max : float
        Extreme nodes.
    width : float
        Standard deviation of the Gaussian that smooths the density.
    products : int
        Hessian-vector products used.
    """

    grid: Vector
    density: Vector
    nodes: Vector
    weights: Vector
    eigenvalue_min: float
    eigenvalue_max: float
    width: float
    products: int

    def moment(self, power: int) -> float:
        """trace(H^power) / n, estimated."""
        return float(np.sum(self.weights * self.nodes**power))

    def share(self, low: float, high: float) -> float:
        """The share of eigenvalues in [low, high]."""
        return float(np.sum(self.weights[(self.nodes >= low) & (self.nodes <= high)]))

    def __repr__(self) -> str:
        return (
            f"Spectrum of {len(self.nodes)} nodes from {self.products} products\n"
            f"  eigenvalues    {self.eigenvalue_min:.3e} to {self.eigenvalue_max:.3e}, mean {self.moment(1):.3e}\n"
            f"  below zero     {100 * self.share(-np.inf, -1e-10 * abs(self.eigenvalue_max)):.1f}% of them"
        )


@float64
def spectrum(
    objective: Objective,
    params: Params,
    *,
    products: int = 60,
    probes: int = 8,
    points: int = 1000,
    width: float | None = None,
    seed: int = 0,
) -> Spectrum:
    """Estimate the density of the Hessian's eigenvalues.

    Each random probe gives a Lanczos matrix, whose eigenvalues are the nodes, and the squares of whose eigenvectors'
    first entries are the weights, of a Gauss quadrature for that probe's spectral measure.

    Parameters
    ----------
    objective : Objective
        Whose loss is looked at.
    params : pytree or array of shape (n,)
        The point.
    products : int
        Lanczos steps of each probe.
    probes : int
        Random vectors of signs; the error falls as 1 / sqrt(n probes).
    points : int
        Of the grid.
    width : float, optional
        Standard deviation of the smoothing Gaussian; by default 1% of the spectrum's width.
    seed : int
        Of the probes.

    Returns
    -------
    Spectrum
        The eigenvalues that were asked for.

    Raises
    ------
    ValueError, TypeError
        Parameters that do not fit the objective or are not finite; a count or width that is not positive.

    Notes
    -----
    Ghorbani, Krishnan and Xiao (2019), "An investigation into neural net optimization via Hessian eigenvalue density",
    section 2; Golub and Welsch (1969) for the weights. The cost is `products` x `probes` Hessian-vector products.

    Examples
    --------
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: 0.5 * (3 * w[0] ** 2 + w[1] ** 2), np.array([1.0, 1.0]))
    >>> sg.spectrum(objective, objective.w0).moment(1)
    2.0
    """
    w = flat_point(objective, params)
    for name, value in (("products", products), ("probes", probes), ("points", points)):
        positive_whole(name, value)
    if width is not None:
        _checks.positive("width", width, "None chooses")
    _checks.whole("seed", seed)
    generator = np.random.default_rng(seed)
    product = hessian_product(objective, w)
    nodes, weights, used = [], [], 0
    for _ in range(probes):
        diagonal, off, _ = lanczos(product, generator.choice([-1.0, 1.0], len(w)), min(products, len(w)))
        values, vectors = tridiagonal_eigen(diagonal, off)
        nodes.append(values)
        weights.append(vectors[0] ** 2 / probes)
        used += len(diagonal)
    node, weight = np.concatenate(nodes), np.concatenate(weights)
    order = np.argsort(node)
    node, weight = node[order], weight[order]
    low, high = float(node[0]), float(node[-1])
    # Equal eigenvalues give a spectrum without width: then the eigenvalue itself is the scale.
    smooth = width if width is not None else 0.01 * (high - low or abs(high) or 1.0)
    grid = np.linspace(low - 5 * smooth, high + 5 * smooth, points)
    bells = np.exp(-0.5 * ((grid[:, None] - node) / smooth) ** 2) / (smooth * np.sqrt(2 * np.pi))
    return Spectrum(grid, bells @ weight, node, weight, low, high, float(smooth), used)
