"""Problems of other packages, which register them through an entry point of the group `stiffgrad.problems`.

In the package's `pyproject.toml`:

    [project.entry-points."stiffgrad.problems"]
    mine = "my_package.problems:all_problems"

where `all_problems()` returns `Problem` objects; its name `mine` serves messages only.
"""

from __future__ import annotations

import functools
import importlib.metadata
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from stiffgrad.laboratory.problems.base import Problem

GROUP = "stiffgrad.problems"


class Installed(NamedTuple):
    """A problem, and the package with its version that brought it."""

    problem: Problem
    package: str


@functools.cache
def installed(taken: tuple[str, ...]) -> dict[str, Installed]:
    """Name -> problem of every package, in alphabetical order of the entry points.

    A package that fails, or brings a name that is taken, is left out with a warning: it must not hold up the others.
    """
    found: dict[str, Installed] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        try:
            brought = {problem.name: Installed(problem, package) for problem in _of(entry)}
            clash = sorted(set(brought) & {*taken, *found})
            if clash:
                raise ValueError(f"the name {clash[0]!r} is taken; give the problem another one")
            found |= brought
        except Exception as error:  # the package's own code runs here
            warnings.warn(
                f"the problems of {package} ({GROUP}: {entry.name} = {entry.value}) are left out: "
                f"{type(error).__name__}: {error}",
                stacklevel=2,
            )
    return found


def _of(entry: importlib.metadata.EntryPoint) -> Iterator[Problem]:
    for problem in entry.load()():
        if not isinstance(problem, Problem):
            raise TypeError(f"{entry.value}() must return Problem objects, not {type(problem).__name__}")
        yield problem
