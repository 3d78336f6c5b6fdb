"""A multilayer perceptron in NumPy, with the derivatives that the evidence needs: nothing is compiled.

Fits of a table are matrix products and factorizations of a few hundred rows, which BLAS and LAPACK do as fast from
NumPy as from compiled code, while compiling them takes longer than most fits. Weights are flat vectors (n,), in the
order of `stiffgrad.mlp`'s parameters: of each layer the biases, then the weights (out, in).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_blas_funcs

Matrix = NDArray[np.float64]


def _logistic(z: Matrix) -> Matrix:
    """1 / (1 + exp(-z)); SciPy's expit takes three times as long."""
    s = np.tanh(0.5 * z)
    s += 1.0
    s *= 0.5
    return s


def _tanh(z: Matrix) -> tuple[Matrix, Matrix]:
    a = np.tanh(z)
    return a, 1.0 - a * a


def _tanh_bend(z: Matrix) -> Matrix:
    a, slope = _tanh(z)
    return -2.0 * a * slope


def _sigmoid(z: Matrix) -> tuple[Matrix, Matrix]:
    a = _logistic(z)
    return a, a * (1.0 - a)


def _sigmoid_bend(z: Matrix) -> Matrix:
    a, slope = _sigmoid(z)
    return slope * (1.0 - 2.0 * a)


def _relu(z: Matrix) -> tuple[Matrix, Matrix]:
    return np.maximum(z, 0.0), (z > 0).astype(float)


def _gelu_parts(z: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    c, b = np.sqrt(2.0 / np.pi), 0.044715
    return np.tanh(c * (z + b * z**3)), c * (1.0 + 3.0 * b * z**2), 6.0 * c * b * z


def _gelu(z: Matrix) -> tuple[Matrix, Matrix]:
    t, inner, _ = _gelu_parts(z)
    return 0.5 * z * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * inner


def _gelu_bend(z: Matrix) -> Matrix:
    t, inner, second = _gelu_parts(z)
    u = 1.0 - t * t
    return u * inner + 0.5 * z * u * (second - 2.0 * t * inner**2)


def _silu(z: Matrix) -> tuple[Matrix, Matrix]:
    s = _logistic(z)
    a = z * s
    return a, s + a * (1.0 - s)


def _silu_bend(z: Matrix) -> Matrix:
    s = _logistic(z)
    return s * (1.0 - s) * (2.0 + z * (1.0 - 2.0 * s))


def _softplus(z: Matrix) -> tuple[Matrix, Matrix]:
    return np.logaddexp(z, 0.0), _logistic(z)


def _sine(z: Matrix) -> tuple[Matrix, Matrix]:
    return np.sin(z), np.cos(z)


# Value and first derivative; second derivative.
ACTIVATIONS: dict[str, Callable[[Matrix], tuple[Matrix, Matrix]]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "logistic": _sigmoid,  # scikit-learn's name
    "relu": _relu,
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
    "sine": _sine,
}
BENDS: dict[str, Callable[[Matrix], Matrix]] = {
    "tanh": _tanh_bend,
    "sigmoid": _sigmoid_bend,
    "logistic": _sigmoid_bend,
    "relu": np.zeros_like,
    "gelu": _gelu_bend,
    "silu": _silu_bend,
    "softplus": lambda z: _sigmoid(z)[1],
    "sine": lambda z: -np.sin(z),
}


@dataclasses.dataclass(frozen=True)
class Pass:
    """A forward pass over samples X (N, d): what the derivatives reuse."""

    inputs: list[Matrix]  # of each layer, (N, in)
    slopes: list[Matrix]  # of each hidden layer, (N, units)
    sums: list[Matrix]  # what its units sum up
    z: Matrix  # outputs, (N, k)


@dataclasses.dataclass(frozen=True)
class Network:
    """A multilayer perceptron as functions of flat weights w (n,) and samples X (N, d)."""

    sizes: tuple[int, ...]
    activation: str = "tanh"

    @property
    def size(self) -> int:
        """Number of weights and biases n."""
        return sum((a + 1) * b for a, b in itertools.pairwise(self.sizes))

    def split(self, w: Matrix) -> list[tuple[Matrix, Matrix]]:
        """Weights (..., out, in) and biases (..., out) of each layer, from flat vectors (..., n)."""
        layers, start = [], 0
        for fan_in, fan_out in itertools.pairwise(self.sizes):
            middle, stop = start + fan_out, start + fan_out * (fan_in + 1)
            weight = w[..., middle:stop].reshape(*w.shape[:-1], fan_out, fan_in)
            layers.append((weight, w[..., start:middle]))
            start = stop
        return layers

    def forward(self, w: Matrix, X: Matrix) -> Pass:
        """Outputs, with what the derivatives reuse."""
        layers, inputs, slopes, sums = self.split(w), [X], [], []
        for weight, bias in layers[:-1]:
            sums.append(inputs[-1] @ weight.T + bias)
            a, slope = ACTIVATIONS[self.activation](sums[-1])
            inputs.append(a)
            slopes.append(slope)
        weight, bias = layers[-1]
        return Pass(inputs, slopes, sums, inputs[-1] @ weight.T + bias)

    def gradient(self, w: Matrix, seen: Pass, slope: Matrix) -> Matrix:
        """J' slope summed over samples, (n,), for slopes (N, k) of a loss in the outputs."""
        layers, parts = self.split(w), []
        for index in range(len(layers) - 1, -1, -1):
            parts += [(slope.T @ seen.inputs[index]).ravel(), slope.sum(0)]
            if index:
                slope = (slope @ layers[index][0]) * seen.slopes[index - 1]
        return np.concatenate(parts[::-1])

    def bent(self, w: Matrix, seen: Pass, d: Matrix) -> Matrix:
        """Second derivatives of the outputs along d (n,), (N, k): a forward pass with two tangents."""
        layers, moved = self.split(w), self.split(d)
        first: Any = 0.0  # derivatives of the inputs of a layer
        second: Any = 0.0
        for index, ((weight, _), (dweight, dbias)) in enumerate(zip(layers, moved)):
            speed = seen.inputs[index] @ dweight.T + dbias
            bend = np.zeros_like(speed)
            if index:
                speed = speed + first @ weight.T
                bend = second @ weight.T + 2.0 * (first @ dweight.T)
            if index < len(layers) - 1:
                slope = seen.slopes[index]
                first, second = (
                    slope * speed,
                    slope * bend + BENDS[self.activation](seen.sums[index]) * speed**2,
                )
        return bend

    def signals(self, w: Matrix, seen: Pass, heads: Matrix) -> list[Matrix]:
        """Derivatives of heads @ outputs in what each layer sums up, (N, r, units); heads are (N, r, k)."""
        layers, found = self.split(w), [heads]
        for index in range(len(layers) - 1, 0, -1):
            back = found[-1].reshape(-1, found[-1].shape[-1]) @ layers[index][0]
            found.append(back.reshape(*heads.shape[:2], -1) * seen.slopes[index - 1][:, None, :])
        return found[::-1]

    def jacobian(self, w: Matrix, seen: Pass, heads: Matrix) -> Matrix:
        """Derivatives of heads @ outputs in all weights, (N r, n)."""
        samples, rows = heads.shape[:2]
        found = np.empty((samples, rows, self.size))
        for signal, a, (weight, bias) in zip(self.signals(w, seen, heads), seen.inputs, self.split(found)):
            bias[...] = signal
            np.multiply(signal[:, :, :, None], a[:, None, None, :], out=weight)
        return found.reshape(samples * rows, -1)

    def pulled(self, w: Matrix, seen: Pass, heads: Matrix, directions: Matrix) -> Matrix:
        """Gradient, (n,), of the sum of all entries of directions * jacobian(w), both (N r, n), by w; heads fixed.

        Each row of the Jacobian times its direction is a derivative of one output along that direction: a forward
        pass with tangents, and one backward pass through both.
        """
        samples, rows = heads.shape[:2]
        layers, moved = self.split(w), self.split(directions.reshape(samples, rows, -1))
        tangents: list[Matrix] = [np.zeros((samples, rows, self.sizes[0]))]  # of the inputs of each layer
        speeds: list[Matrix] = []  # of what each layer sums up
        for index, ((weight, _), (dweight, dbias)) in enumerate(zip(layers, moved)):
            speed = (dweight @ seen.inputs[index][:, None, :, None])[..., 0] + dbias
            speeds.append(speed + tangents[-1] @ weight.T if index else speed)
            if index < len(layers) - 1:
                tangents.append(seen.slopes[index][:, None, :] * speeds[-1])
        total = np.zeros_like(w)
        ends = self.split(total)
        bar_speed, bar_sum = heads, np.zeros((samples, self.sizes[-1]))
        for index in range(len(layers) - 1, -1, -1):
            (weight, _), (dweight, _) = layers[index], moved[index]
            flat = bar_speed.reshape(-1, bar_speed.shape[-1])
            ends[index][0][...] = bar_sum.T @ seen.inputs[index]
            ends[index][0][...] += flat.T @ tangents[index].reshape(len(flat), -1)
            ends[index][1][...] = bar_sum.sum(0)
            if index:
                slope, bend = seen.slopes[index - 1], BENDS[self.activation](seen.sums[index - 1])
                bar_inputs = bar_sum @ weight + np.einsum("nro,nroi->ni", bar_speed, dweight)
                bar_tangents = (flat @ weight).reshape(samples, rows, -1)
                bar_sum = bar_inputs * slope + (bar_tangents * speeds[index - 1]).sum(1) * bend
                bar_speed = bar_tangents * slope[:, None, :]
        return total

    # ---- second-order quantities, unit by unit: their cost does not grow with the number of heads

    @property
    def order(self) -> NDArray[np.int64]:
        """Where each weight lies, (n,), in the order of units: of each one its bias, then its weights."""
        labels = self.split(np.arange(self.size, dtype=float))
        return np.concatenate([np.column_stack([bias, weight]).ravel() for weight, bias in labels]).astype(np.int64)

    def _factors(self, w: Matrix, seen: Pass, heads: Matrix, dtype: Any = float) -> list[tuple[Matrix, Matrix, slice]]:
        """Of each layer: signals (N, r, units), inputs with a one for the bias (N, in + 1), place in `order`."""
        found, start = [], 0
        for signal, a in zip(self.signals(w, seen, heads), seen.inputs):
            stop = start + signal.shape[2] * (a.shape[1] + 1)
            ones = np.column_stack([np.ones(len(a)), a])
            found.append((signal.astype(dtype, copy=False), ones.astype(dtype, copy=False), slice(start, stop)))
            start = stop
        return found

    def ordered(self, w: Matrix, seen: Pass, heads: Matrix, dtype: Any = float) -> Matrix:
        """The Jacobian of one head a sample, (N, n), in `order`."""
        layers = self._factors(w, seen, heads, dtype)
        return np.hstack([(signal[:, 0, :, None] * a[:, None, :]).reshape(len(a), -1) for signal, a, _ in layers])

    def gram(self, w: Matrix, seen: Pass, heads: Matrix, dtype: Any = float) -> Matrix:
        """Lower triangle of A'A for A = jacobian, (n, n), in `order`.

        A row of A is, layer by layer, the outer product of signals and inputs. So the sum over heads comes first, of
        signals alone, and the cost is N n^2 operations instead of N r n^2.
        """
        if heads.shape[1] == 1:
            a = self.ordered(w, seen, heads, dtype).T
            return get_blas_funcs("syrk", (a,))(1.0, a, lower=1)
        layers, samples = self._factors(w, seen, heads, dtype), len(seen.z)
        found = np.zeros((self.size, self.size), dtype)
        for index, (signal, a, place) in enumerate(layers):
            for unit in range(signal.shape[2]):
                rows = slice(place.start + unit * a.shape[1], place.start + (unit + 1) * a.shape[1])
                for other, b, there in layers[: index + 1]:
                    width = unit + 1 if there == place else other.shape[2]
                    both = np.einsum("nj,njo->no", signal[:, :, unit], other[:, :, :width])
                    scaled = (both[:, :, None] * b[:, None, :]).reshape(samples, -1)
                    found[rows, there.start : there.start + scaled.shape[1]] = a.T @ scaled
        return found

    def spread(self, w: Matrix, X: Matrix, covariance: Matrix) -> Matrix:
        """Covariances (N, k, k) of the outputs where the weights have the `covariance` (n, n), in `order`."""
        seen, k = self.forward(w, X), self.sizes[-1]
        layers = self._factors(w, seen, np.broadcast_to(np.eye(k), (len(X), k, k)), covariance.dtype)
        found = np.zeros((len(X), k, k))
        for index, (signal, a, place) in enumerate(layers):
            for unit in range(signal.shape[2]):
                rows = slice(place.start + unit * a.shape[1], place.start + (unit + 1) * a.shape[1])
                for other, b, there in layers[: index + 1]:
                    width = unit + 1 if there == place else other.shape[2]
                    columns = slice(there.start, there.start + width * b.shape[1])
                    half = (a @ covariance[rows, columns]).reshape(len(a), width, -1)
                    each = np.matmul(half, b[:, :, None])[:, :, 0]
                    if there == place:  # the other triangle comes by symmetry below, and the diagonal twice
                        each[:, -1] *= 0.5
                    found += signal[:, :, unit, None] * np.matmul(other[:, :, :width], each[:, :, None])[:, None, :, 0]
        return found + found.transpose(0, 2, 1)
