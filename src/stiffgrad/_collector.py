"""Python's garbage collector, kept from looking through what is no garbage while modules load and a first run compiles.

JAX is 300,000 objects that stay. What makes many more, as an import and a trace do, lets the collector look through all
of them again and again: a third of the time that a first fit took (docs/first-call.md). Here they become old without
a look, and are left out while the first programs are traced. Nothing is left out for good, and who has frozen objects,
or switched the collector off, finds all as it was.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Iterator

FIRST = 4  # objectives and runs: where later ones left young objects out, garbage among these would wait too long
_compilations = itertools.count(1)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """For imports: no collection inside, and what was made inside is old afterwards."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            gc.unfreeze()  # into the oldest generation
        gc.enable()


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """For the first compilations of a process: collections inside look at what was made inside only."""
    if next(_compilations) > FIRST or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
