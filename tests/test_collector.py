"""The garbage collector: left as it was, and nothing left out for good."""

import contextlib
import gc
import subprocess
import sys
import weakref

import pytest

from stiffgrad import _collector


class Knot:
    """A cycle, which only the collector frees."""

    def __init__(self):
        self.own = self


@pytest.fixture
def first(monkeypatch):
    monkeypatch.setattr(_collector, "_compilations", iter(range(1, 100)))
    assert gc.isenabled()
    assert not gc.get_freeze_count()


@pytest.mark.parametrize("context", [_collector.loading, _collector.compiling])
def test_the_collector_is_left_as_it_was(first, context):
    before, inside = weakref.ref(Knot()), []
    with contextlib.suppress(KeyError), context():
        inside.append(weakref.ref(Knot()))
        raise KeyError
    assert gc.isenabled()
    assert not gc.get_freeze_count()
    gc.collect()
    assert before() is None
    assert inside[0]() is None


def test_collections_inside_look_at_what_was_made_inside_only(first):
    before = weakref.ref(Knot())
    with _collector.compiling():
        inside = weakref.ref(Knot())
        gc.collect()
        assert before() is not None
        assert inside() is None
        with _collector.compiling():  # within another it does nothing
            pass
        assert gc.get_freeze_count()
    gc.collect()
    assert before() is None


def test_later_compilations_are_as_they_were(first, monkeypatch):
    monkeypatch.setattr(_collector, "_compilations", iter([_collector.FIRST + 1]))
    with _collector.compiling():
        assert not gc.get_freeze_count()


@pytest.mark.parametrize("context", [_collector.loading, _collector.compiling])
def test_what_the_user_froze_or_switched_off_stays_so(first, context):
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with context():
            pass
        assert gc.get_freeze_count() > 0.99 * frozen  # what nobody refers to any more is freed
    finally:
        gc.unfreeze()
    gc.disable()
    try:
        with context():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


LOOKS = """if True:
    import gc
    looks = []
    gc.callbacks.append(lambda phase, info: looks.append(info["generation"]) if phase == "stop" else None)
    import stiffgrad as sg
    print(len(looks), gc.isenabled(), gc.get_freeze_count())
"""


def test_nothing_is_looked_through_while_the_package_loads():
    run = subprocess.run([sys.executable, "-c", LOOKS], capture_output=True, text=True, timeout=120)
    looks, enabled, frozen = run.stdout.split()
    assert int(looks) <= 20  # JAX alone: more than 200
    assert (enabled, frozen) == ("True", "0")
