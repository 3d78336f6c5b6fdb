"""M = diag(d) + A'A of a Jacobian A, factored on its smaller side: solves, determinant, and traces of its inverse."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy.linalg import get_lapack_funcs, lapack
from scipy.linalg.blas import dsyrk, dtrsm

from stiffgrad.estimators._network import Matrix

WIDER = 1.3  # columns of A for each row, from which the other side is factored
LARGE = 1e5  # samples times weights from which matrices are in single precision; below it saves next to nothing


def cholesky(matrix: Matrix) -> Matrix:
    """The lower factor, in its precision, of a matrix of which only the lower triangle is read. Raises LinAlgError."""
    lower, info = get_lapack_funcs("potrf", (matrix,))(matrix, lower=1, clean=1)
    if info:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return lower


def inverse(lower: Matrix) -> Matrix:
    """The inverse (both triangles) of the matrix that `lower` factors, whose upper triangle is zero."""
    half = get_lapack_funcs("potri", (lower,))(lower, lower=1)[0]
    found = half + half.T
    found[np.diag_indices_from(found)] *= 0.5
    return found


def dual(a: Matrix) -> bool:
    """Whether AA' is the side to factor: the other one needs a product of A with itself for each A, this for each d."""
    return WIDER * a.shape[0] < a.shape[1]


def gram(a: Matrix) -> Matrix:
    """The lower triangle of A'A where that is the side to factor, else nothing."""
    return np.zeros((0, 0)) if dual(a) else dsyrk(1.0, a.T, lower=1)


@dataclasses.dataclass(frozen=True)
class Curvature:
    """M = diag(d) + A'A of a Jacobian A (m, n), factored on its smaller side after scaling by the root of d."""

    lower: Matrix  # factor of I + B'B or I + BB', with B = A / root d
    jacobian: Matrix
    root: Matrix

    @classmethod
    def of(cls, a: Matrix, gram: Matrix, d: Matrix) -> Curvature:
        """Factor it; `gram` is what the function of that name says."""
        root = np.sqrt(d)
        if gram.size:
            small = gram / root[:, None]  # both in the order of columns, as LAPACK has it
            small /= root
        else:
            small = dsyrk(1.0, (a / root).T, trans=1, lower=1)
        small[np.diag_indices_from(small)] += 1.0
        shift = np.finfo(float).eps * float(np.diag(small).max())
        while True:
            try:
                return cls(cholesky(small), a, root)
            except np.linalg.LinAlgError:  # by rounding, which the least eigenvalue, 1, is no match for
                if not shift < np.diag(small).max():
                    raise
                small[np.diag_indices_from(small)] += shift
                shift *= 100.0

    @property
    def _dual(self) -> bool:
        return dual(self.jacobian)

    def solve(self, v: Matrix) -> Matrix:
        """M^-1 v, for v of shape (n,)."""
        half = v / self.root
        if self._dual:
            inner = lapack.dpotrs(self.lower, self.jacobian @ (half / self.root), lower=1)[0]
            return (half - (inner @ self.jacobian) / self.root) / self.root
        return lapack.dpotrs(self.lower, half, lower=1)[0] / self.root

    @functools.cached_property
    def determined(self) -> Matrix:
        """1 - d_j (M^-1)_jj, (n,): how far the data determine each weight, from 0 to 1."""
        if self._dual:
            half = dtrsm(1.0, self.lower, self.jacobian / self.root, lower=1)
            return np.einsum("ij,ij->j", half, half)
        return 1.0 - np.diag(self._inverse).astype(float)

    @functools.cached_property
    def _inverse(self) -> Matrix:
        large = self.jacobian.size >= LARGE
        return inverse(self.lower.astype(np.float32, order="F") if large else self.lower)

    def adjoint(self) -> Matrix:
        """A M^-1, (m, n): half the derivative of log det M by A."""
        if self._dual:
            return lapack.dpotrs(self.lower, self.jacobian / self.root**2, lower=1)[0]
        found = self._inverse
        return (self.jacobian / self.root).astype(found.dtype, copy=False) @ found / self.root

    def log_det(self) -> float:
        """Log det(M) - log det(diag(d)), never negative."""
        return float(2.0 * np.log(np.diag(self.lower)).sum())
