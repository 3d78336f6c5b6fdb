"""Collocation points: inside of the box, on its faces, shared out by size, repeatable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiffgrad import pde
from stiffgrad.pde.points import some_of

side = st.tuples(st.floats(-5, 5), st.floats(0.1, 3)).map(lambda pair: (pair[0], pair[0] + pair[1]))
boxes = st.lists(side, min_size=1, max_size=3)


@given(domain=boxes, count=st.integers(1, 60), sampling=st.sampled_from(["sobol", "latin", "uniform", "grid"]))
def test_points_lie_inside_of_the_box(domain, count, sampling):
    points = pde.interior_points(domain, count, sampling, seed=3)
    low, high = np.array(domain).T
    assert points.shape[1] == len(domain)
    assert sampling == "grid" or len(points) == count
    assert np.all((points >= low) & (points <= high + 1e-12))
    np.testing.assert_array_equal(points, pde.interior_points(domain, count, sampling, seed=3))


@given(domain=boxes, count=st.integers(6, 60), sampling=st.sampled_from(["sobol", "latin", "uniform"]))
def test_points_of_the_boundary_lie_on_faces(domain, count, sampling):
    points = pde.boundary_points(domain, count, sampling)
    low, high = np.array(domain).T
    assert np.all(np.any((points == low) | (points == high), axis=1))
    assert len(points) == (2 if len(domain) == 1 else count)
    for axis, (first, last) in enumerate(domain):
        assert {first, last} <= set(points[:, axis])


def test_every_stratum_of_a_latin_hypercube_has_one_point():
    points = pde.interior_points([(0, 1), (2, 4)], 50, "latin")
    for column, (low, high) in zip(points.T, [(0, 1), (2, 4)], strict=True):
        strata = np.floor((column - low) / (high - low) * 50).astype(int)
        np.testing.assert_array_equal(np.sort(strata), np.arange(50))


def test_sobol_points_integrate_better_than_random_ones():
    # The integral of x y exp(x) over the unit square is 1/2.
    def error(sampling):
        means = []
        for seed in range(5):
            x, y = pde.interior_points([(0, 1), (0, 1)], 1024, sampling, seed).T
            means.append(abs(np.mean(x * y * np.exp(x)) - 0.5))
        return max(means)

    assert error("sobol") < 0.1 * error("uniform")


def test_some_of_all_points_lie_everywhere():
    points = pde.interior_points([(0, 1), (0, 1)], 1024)
    chosen = some_of(1024, 64)
    assert len(np.unique(chosen)) == 64
    assert np.all(np.histogram2d(*points[chosen].T, bins=2, range=[[0, 1], [0, 1]])[0] > 6)


def test_faces_share_the_points_by_their_size():
    points = pde.boundary_points([(0, 1), (0, 3)], 80)
    short, long = np.isin(points[:, 1], [0, 3]).sum(), np.isin(points[:, 0], [0, 1]).sum()
    assert (short, long) == (20, 60)


def test_one_face_alone():
    points = pde.boundary_points([(0, 1), (0, 3)], 7, "grid", faces=[(1, 3)])
    np.testing.assert_array_equal(points[:, 1], 3.0)
    np.testing.assert_allclose(points[:, 0], np.linspace(0, 1, 7))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pde.interior_points([(0, 1)], 0), ValueError, "count=0 must be at least 1"),
        (lambda: pde.interior_points([(0, 1)], 2.5), TypeError, "count=2.5 must be a whole number"),
        (lambda: pde.interior_points([(1, 0)], 5), ValueError, "each low must be below its high"),
        (lambda: pde.interior_points([(0, np.inf)], 5), ValueError, "finite"),
        (lambda: pde.interior_points((0, 1), 5), ValueError, r"list of \(low, high\)"),
        (lambda: pde.interior_points("ab", 5), TypeError, r"list of \(low, high\)"),
        (lambda: pde.interior_points([(0, 1)], 5, "halton"), ValueError, "sampling='halton' must be one of sobol"),
        (lambda: pde.boundary_points([(0, 1), (0, 1)], 3), ValueError, "there are 4 faces"),
        (lambda: pde.boundary_points([(0, 1)], 2, faces=[(0, 0.5)]), ValueError, "ends at 0 and 1, not at 0.5"),
        (lambda: pde.boundary_points([(0, 1)], 2, faces=[(1, 0)]), ValueError, "axis 1 is beyond"),
        (lambda: pde.boundary_points([(0, 1)], 2, faces=[3]), TypeError, r"pair \(axis, value\)"),
        (lambda: pde.boundary_points([(0, 1)], 2, faces=[]), ValueError, "faces is empty"),
    ],
)
def test_bad_arguments_are_sentences(call, error, words):
    with pytest.raises(error, match=words):
        call()
