"""Where a result was made: processor, versions, revision, date."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from typing import Any

PACKAGES = (
    "stiffgrad", "jax", "jaxlib", "numpy", "scipy", "diffrax", "lineax", "optimistix", "optax", "equinox",
    "scikit-sundae", "ssbroyden-optimistix", "scikit-learn",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Processor, cores this process may use, Python, package versions, git revision (None outside a checkout), date.

    Examples
    --------
    >>> environment()["cores"] >= 1
    True
    """
    return {**_fixed(), "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


@functools.cache
def _fixed() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": cores,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "revision": _revision(),
        "code": code(),
    }


RUNS = ("objective", "curvature", "solvers", "run", "flow.py", "laboratory/cells.py", "laboratory/problems")


@functools.cache
def code() -> str:
    """12 hexadecimal digits of the sources that a run depends on: other code makes other results.

    Reports, estimators and the command line are not among them, so a result outlives a change of those.

    Examples
    --------
    >>> code() == code(), len(code())
    (True, 12)
    """
    package = pathlib.Path(__file__).resolve().parent.parent
    found = hashlib.sha256()
    for name in RUNS:
        place = package / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            found.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:12]


def _cpu() -> str:
    information = pathlib.Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The commit of the checkout this code runs from; "+changes" where tracked files differ from it."""
    folder = pathlib.Path(__file__).resolve().parent
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no", "--", "."])
    try:
        revision, changes = (
            subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision + ("+changes" if changes else "")
