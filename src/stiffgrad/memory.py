"""How much memory there is, asked before the first large allocation: a clear error instead of a killed process."""

from __future__ import annotations

import os


def available_bytes() -> float:
    """Physical memory free now, in bytes; what the system does not tell counts as unlimited.

    Examples
    --------
    >>> available_bytes() > 0
    True
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * float(line.split()[1])
    except OSError:
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def require(needed: float, what: str, remedy: str) -> None:
    """Raise MemoryError with the estimate where `needed` bytes are not available."""
    free = available_bytes()
    if needed > free:
        raise MemoryError(f"{what} needs about {needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free: {remedy}")
