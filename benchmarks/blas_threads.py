"""What a second BLAS thread does to a Cholesky factorization: `python benchmarks/blas_threads.py`."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import ThreadpoolController

import stiffgrad  # noqa: F401 - switches on float64

factor = jax.jit(lambda a: jax.lax.linalg.cholesky(a, symmetrize_input=False))
factor(jnp.eye(3)).block_until_ready()
blas = ThreadpoolController()
print(f"{'order':>6}  {'threads':>7}  {'median ms':>9}  {'mean ms':>8}")
for order in (60, 200, 500, 1000, 2000):
    root = jax.random.normal(jax.random.key(0), (order, order + 50))
    matrix = root @ root.T + order * jnp.eye(order)
    for threads in (1, 2):
        with blas.limit(limits=threads, user_api="blas"):
            factor(matrix).block_until_ready()
            times = []
            for _ in range(60 if order < 1000 else 12):
                begin = time.perf_counter()
                factor(matrix).block_until_ready()
                times.append(1e3 * (time.perf_counter() - begin))
        print(f"{order:6d}  {threads:7d}  {np.median(times):9.3f}  {np.mean(times):8.3f}")
