"""How much memory there is and how much is needed, asked before the first large allocation."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax


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


def device_bytes(devices: Sequence[Any]) -> float:
    """Memory free on each of some devices (by default JAX's first one), in bytes; host devices share the machine's.

    Examples
    --------
    >>> device_bytes([]) > 0
    True
    """
    devices = devices or jax.local_devices()[:1]
    if devices[0].platform == "cpu":
        return available_bytes() / len(devices)
    free = []
    for device in devices:
        known = device.memory_stats() or {}
        free.append(known.get("bytes_limit", float("inf")) - known.get("bytes_in_use", 0))
    return float(min(free))


def bytes_a_sample(function: Callable[..., Any], params: Any, sample: Any) -> tuple[Any, float]:
    """Output of function(params, sample) as a shape, and the bytes that a Hessian product needs for one sample.

    Reverse mode keeps what the function computes of its sample; forward over reverse keeps its tangent, and both
    have a cotangent: four times all intermediate results that depend on the sample. A bound from the function's
    equations alone: what the compiler fuses away is counted.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> shape, bytes_ = bytes_a_sample(lambda w, x: jnp.sin(w * x), jnp.ones(3), jnp.ones(3))
    >>> shape.shape, bytes_ == 4 * 2 * 3 * jnp.ones(3).dtype.itemsize  # the product and its sine
    ((3,), True)
    """
    program, shape = jax.make_jaxpr(function, return_shape=True)(params, sample)
    return shape, bytes_of(program.jaxpr, len(jax.tree.leaves(params)))


def bytes_of(jaxpr: Any, constant: int) -> float:
    """The same bytes of a traced program whose first `constant` arguments are those of the parameters."""
    depends = [i >= constant for i in range(len(jaxpr.invars))]
    return 4.0 * _kept(jaxpr, depends)


def _kept(jaxpr: Any, depends: Sequence[bool]) -> float:
    """Bytes of what is computed from those inputs that depend on the sample."""
    known = {var for var, yes in zip(jaxpr.invars, depends, strict=True) if yes}
    total = 0.0
    for equation in jaxpr.eqns:
        touched = [not hasattr(var, "val") and var in known for var in equation.invars]
        if not any(touched):
            continue
        known.update(equation.outvars)
        inner = []
        for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            sub: Any = getattr(parameter, "jaxpr", parameter)
            if hasattr(sub, "eqns"):
                same = len(sub.invars) == len(touched)
                inner.append(_kept(sub, touched if same else [True] * len(sub.invars)))
        own = sum(var.aval.size * var.aval.dtype.itemsize for var in equation.outvars if hasattr(var.aval, "dtype"))
        total += max(own, equation.params.get("length", 1) * max(inner, default=0.0))
    return total
