"""Several devices, chunks within a budget, float32: the same numbers as one device in one piece, to rounding."""

import functools
import json
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import _memory as memory
from stiffgrad.objective import derivatives

SHARDED = """
import json, sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import stiffgrad as sg

devices = jax.devices()
mesh = jax.make_mesh((len(devices),), ("samples",))
rows = np.random.default_rng(0)
X, y = rows.normal(size=(45, 3)), rows.normal(size=45)  # 45 samples are no multiple of 8 devices
apply, params = sg.mlp([3, 6, 1], seed=0)  # 31 parameters: n x n, with the samples in rows
wide, many = sg.mlp([3, 12, 1], seed=0)  # 61: m x m, by Woodbury

def make(**options):
    return sg.supervised(apply, params, X, y, weight_decay=1e-3, **options)

if len(devices) == 1:
    objectives = {"argument": make(), "chunks": make(chunk_samples=16), "data": make(), "sharding": make()}
    dual = sg.supervised(wide, many, X, y)
else:
    objectives = {
        "argument": make(sharding=mesh),
        "chunks": make(chunk_samples=16, sharding=mesh),
        "sharding": make(sharding=NamedSharding(mesh, PartitionSpec("samples"))),
    }
    put = jax.device_put(X[:40], NamedSharding(mesh, PartitionSpec("samples")))
    weights = np.ones(45)
    objectives["data"] = sg.supervised(apply, params, put, y[:40], weight_decay=1e-3)
    dual = sg.supervised(wide, many, X, y, sharding=mesh)
    for objective in objectives.values():
        (block,) = objective.blocks
        assert len(block.samples.sharding.device_set) == 8
        assert block.samples.addressable_shards[0].data.size < block.samples.size
if len(devices) == 1:
    objectives["data"] = sg.supervised(apply, params, X[:40], y[:40], weight_decay=1e-3)
found = {}
for name, objective in objectives.items():
    w, v = np.linspace(-1, 1, objective.size), np.cos(np.arange(objective.size))
    found[name] = [
        float(objective.value(w)), *(np.asarray(part).ravel().tolist() for part in (
            objective.gradient(w), objective.hvp(w, v), objective.gnvp(w, v),
            objective.gauss_newton(w), objective.hessian(w),
        ))
    ]
counts = {}
for name, objective, solver in (
    ("exponential", objectives["argument"], sg.solvers.Exponential(pairs=0, mixed=False)),
    ("rosenbrock", objectives["argument"], "rosenbrock"),
    ("dual", dual, "rosenbrock"),
):
    solution = sg.solve(objective, solver, until=sg.Until(steps=4, wall_seconds=None))
    found[name] = [solution.w.tolist(), solution.trace["loss"].tolist()]
    counts[name] = solution.statistics.presentations
solution = sg.solve(objectives["chunks"], "exponential", until=sg.Until(gradient_norm=1e-6))
assert solution.outcome is sg.Outcome.TARGET
print(json.dumps([len(devices), found, counts]))
"""


def run(devices):
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "STIFFGRAD_CACHE_DIR": os.environ.get("STIFFGRAD_CACHE_DIR", ""),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SHARDED], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(400)  # two processes that compile everything twice; a minute on an idle core
def test_eight_devices_give_the_numbers_of_one():
    one, eight = run(1), run(8)
    assert (one[0], eight[0]) == (1, 8)
    assert one[2] == eight[2]
    for name, parts in one[1].items():
        for part, other in zip(parts, eight[1][name], strict=True):
            scale = np.abs(part).max()
            # A few steps multiply rounding by the curvature's condition; single evaluations sum 45 numbers.
            tolerance = 1e-13 if len(parts) > 2 else 1e-8
            assert np.abs(np.subtract(part, other)).max() <= tolerance * scale, name


TWO_PROCESSES = """
import sys
import jax, numpy as np

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{sys.argv[1]}", num_processes=2, process_id=int(sys.argv[2]))
import stiffgrad as sg

rows = np.random.default_rng(0)
X, y = rows.normal(size=(45, 3)), rows.normal(size=45)
apply, params = sg.mlp([3, 6, 1], seed=0)
mesh = jax.make_mesh((jax.device_count(),), ("samples",))
objective = sg.supervised(apply, params, X, y, sharding=mesh)
solution = sg.solve(objective, "chebyshev", until=sg.Until(loss=-1.0, wall_seconds=0.5))
print(jax.device_count(), solution.statistics.steps, solution.loss.hex(), solution.outcome.name)
"""


def test_two_processes_stop_at_the_same_step_when_the_time_is_over():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, port, str(i)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]
    try:
        output, errors = zip(*(process.communicate(timeout=150) for process in processes), strict=True)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0], errors
    first, second = (text.splitlines()[-1] for text in output)
    assert first == second
    assert first.startswith("2 ")
    assert first.endswith("OUT_OF_TIME")


def test_a_sharding_that_is_none_is_named():
    with pytest.raises(TypeError, match="sharding must be"):
        objective(sharding="all")


@functools.cache
def data(samples=1000):
    rows = np.random.default_rng(1)
    return rows.normal(size=(samples, 8)), rows.normal(size=samples)


def objective(samples=1000, width=32, **options):
    apply, params = sg.mlp([8, width, width, 1], seed=0)
    return sg.supervised(apply, params, *data(samples), **options)


BUDGET = 250_000.0


def test_a_budget_cuts_into_chunks_that_change_nothing_but_rounding():
    whole, cut = objective(), objective(memory_budget=BUDGET)
    assert not whole.blocks[0].chunked
    assert cut.blocks[0].chunked
    assert cut.blocks[0].coefficients.shape[0] > 4
    w, v = np.asarray(whole.w0), np.cos(np.arange(whole.size))
    for call in (lambda o: o.value(w), lambda o: o.gradient(w), lambda o: o.hvp(w, v), lambda o: o.gnvp(w, v)):
        a, b = np.asarray(call(whole)), np.asarray(call(cut))
        assert np.abs(a - b).max() <= 1e-13 * np.abs(a).max()


@pytest.mark.parametrize("product", [derivatives.value_and_gradient, derivatives.hvp, derivatives.gnvp])
def test_the_compiled_program_obeys_the_budget(product):
    def temporary(problem):
        vectors = [problem.w0] * (1 if product is derivatives.value_and_gradient else 2)
        return jax.jit(product).lower(problem, *vectors).compile().memory_analysis().temp_size_in_bytes

    cut = objective(memory_budget=BUDGET)
    parameters = 8 * cut.w0.nbytes  # vectors of weights, which no chunk makes smaller
    assert temporary(cut) <= BUDGET + parameters
    assert temporary(objective()) > BUDGET + parameters


def test_the_estimate_grows_with_what_depends_on_the_sample_alone():
    def narrow(w, x):
        return jnp.sum(jnp.outer(w, w)) * x  # the outer product is the same for every sample

    def scanned(w, x):
        return jax.lax.scan(lambda c, _: (jnp.sin(c * w), None), x, length=7)[0]

    _, bytes_ = memory.bytes_a_sample(narrow, jnp.ones(50), jnp.ones(3))
    assert bytes_ == 4 * 3 * 8
    _, bytes_ = memory.bytes_a_sample(scanned, jnp.ones(3), jnp.ones(3))
    assert bytes_ == 4 * 7 * 2 * 3 * 8
    _, bytes_ = memory.bytes_a_sample(jax.jit(lambda w, x: jnp.sin(w * x)), jnp.ones(3), jnp.ones(3))
    assert bytes_ == 4 * 2 * 3 * 8


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"memory_budget": 0.0}, ValueError, "memory_budget=0.0"),
        ({"memory_budget": "1 GiB"}, TypeError, "memory_budget='1 GiB'"),
        ({"memory_budget": 1e6, "chunk_samples": 10}, ValueError, "exclude each other"),
        ({"chunk_samples": 2.5}, ValueError, "chunk_samples=2.5"),
    ],
)
def test_bad_sizes_are_named(options, error, words):
    with pytest.raises(error, match=words):
        objective(**options)


@functools.cache
def line(dtype="float32"):
    """Least squares with residuals that stay: one tanh layer on noise, with a decay."""
    apply, params = sg.mlp([8, 3, 1], seed=0)
    return sg.supervised(apply, params, *data(200), weight_decay=1e-2, dtype=dtype)


# In float64 the two get to about 1e-16 and 1e-8 here: each is asked for what lies between its two precisions.
@pytest.mark.parametrize(("solver", "norm"), [("rosenbrock", 1e-9), ("exponential", 3e-8)])
def test_a_stall_in_float32_is_named_and_float64_goes_on(solver, norm):
    target = sg.Until(gradient_norm=norm)
    single = sg.solve(line(), solver, until=target)
    assert single.outcome in (sg.Outcome.STALLED, sg.Outcome.STATIONARY)
    assert norm < single.gradient_norm < np.sqrt(np.finfo(np.float32).eps)
    assert single.w.dtype == np.float32
    both = sg.solve(line(), solver, until=target, promote=True)
    assert both.outcome is sg.Outcome.TARGET
    assert both.gradient_norm <= norm
    assert both.w.dtype == np.float64
    assert "float32" in both.message
    trace = both.trace
    assert np.array_equal(np.unique(trace["float64"]), [0.0, 1.0])
    for name in ("steps", "presentations", "wall_seconds", "flow_time"):
        assert np.all(np.diff(trace[name]) >= 0), name
    assert trace["presentations"][-1] == both.statistics.presentations
    (seam,) = np.flatnonzero(np.diff(trace["float64"]))
    # The same weights and the same samples: the losses differ by the rounding of a sum of 200 numbers in float32.
    assert trace["loss"][seam + 1] == pytest.approx(trace["loss"][seam], rel=float(200 * np.finfo(np.float32).eps))


def test_promotion_keeps_the_budgets_and_leaves_other_runs_alone():
    until = sg.Until(gradient_norm=1e-9, steps=3)
    ended = sg.solve(line(), "rosenbrock", until=until, promote=True)
    assert ended.outcome is sg.Outcome.OUT_OF_STEPS
    assert "float64" not in list(ended.trace)
    steps = sg.solve(line(), "rosenbrock", until=sg.Until(gradient_norm=1e-9)).statistics.steps
    until = sg.Until(gradient_norm=0.0, steps=steps + 1)
    both = sg.solve(line(), "rosenbrock", until=until, promote=True)
    assert both.statistics.steps == steps + 1
    assert both.outcome is sg.Outcome.OUT_OF_STEPS
