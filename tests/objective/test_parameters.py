"""Flat vectors and pytrees are two views of the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiffgrad.objective.parameters import Layout

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
leaves = shapes.map(lambda shape: np.arange(float(np.prod(shape, dtype=int))).reshape(shape))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=6,
)


@given(tree=trees)
def test_there_and_back_again(tree):
    layout = Layout.of(tree)
    flat = layout.flatten(tree)
    back = layout.unflatten(flat)
    assert flat.shape == (layout.size,)
    assert layout.size == sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert jax.tree.all(jax.tree.map(np.array_equal, tree, back))
    np.testing.assert_array_equal(layout.flatten(back), flat)


@given(tree=trees)
def test_equal_structures_are_equal_layouts(tree):
    other = jax.tree.map(lambda leaf: leaf + 1, tree)
    assert Layout.of(tree) == Layout.of(other)
    assert hash(Layout.of(tree)) == hash(Layout.of(other))


def test_the_number_type_is_the_one_asked_for():
    layout = Layout.of({"a": 1, "b": np.zeros(2, np.float32)})
    assert layout.flatten({"a": 1, "b": np.ones(2)}, jnp.float32).dtype == jnp.float32
    assert layout.flatten({"a": 1, "b": np.ones(2)}, jnp.float64).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("other", [[np.zeros(3)], {"a": np.zeros(4)}, {"a": np.zeros(3), "b": 0.0}, np.zeros(3)])
def test_another_structure_is_refused(other):
    with pytest.raises(ValueError, match=r"built for PyTreeDef\(\{'a': \*\}\) with shapes \(\(3,\),\)"):
        Layout.of({"a": np.zeros(3)}).flatten(other)
