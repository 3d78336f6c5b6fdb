"""The flow is minus the gradient, its Jacobian minus the Hessian, and every call is counted at its price."""

import time

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import flow as flow_module
from stiffgrad.flow import Flow, OutOfTime

N, K = 6, 2


@pytest.fixture(scope="module")
def objective():
    rng = np.random.default_rng(0)
    apply, params = sg.mlp([2, 3, K])
    return sg.supervised(apply, params, rng.normal(size=(N, 2)), rng.normal(size=(N, K)), weight_decay=0.1)


@pytest.fixture
def flow(objective):
    return Flow(objective)


def test_right_side_and_jacobian(flow, objective):
    w = np.asarray(objective.w0) + 0.1
    np.testing.assert_array_equal(flow.rhs(0.0, w), -np.asarray(objective.gradient(w)))
    np.testing.assert_array_equal(flow.jacobian("autodiff")(0.0, w), -np.asarray(objective.hessian(w)))
    np.testing.assert_array_equal(flow.jacobian("gauss-newton")(0.0, w), -np.asarray(objective.gauss_newton(w)))
    assert flow.jacobian("finite-difference") is None
    np.testing.assert_array_equal(flow.product(w, w), objective.hvp(w, w))
    np.testing.assert_array_equal(flow.product(w, w, "gauss-newton"), objective.gnvp(w, w))


@pytest.mark.parametrize(
    ("call", "counted", "presentations"),
    [
        (lambda f, w: f.rhs(0.0, w), {"rhs_evaluations": 1}, 1),
        (lambda f, w: f.value_and_gradient(w), {"rhs_evaluations": 1}, 1),
        (lambda f, w: f.value(w), {"loss_evaluations": 1}, 1),
        (lambda f, w: f.jacobian("autodiff")(0.0, w), {"jacobian_evaluations": 1}, 2 * 17),
        (lambda f, w: f.jacobian("gauss-newton")(0.0, w), {"jacobian_evaluations": 1}, K),
        (lambda f, w: f.product(w, w), {"hessian_products": 1}, 2),
        (lambda f, w: f.product(w, w, "gauss-newton"), {"hessian_products": 1}, 2),
    ],
)
def test_each_call_counts_itself(flow, objective, call, counted, presentations):
    w = np.asarray(objective.w0)
    call(flow, w)
    call(flow, w + 1)
    expected = {name: 2 * count for name, count in counted.items()} | {"presentations": 2 * presentations}
    assert {name: count for name, count in flow.counts.items() if count} == expected


def test_outputs_a_sample_do_not_depend_on_chunks_or_several_terms():
    apply, params = sg.mlp([2, 3, 3])
    X, y = np.ones((10, 2)), np.ones((10, 3))
    assert Flow(sg.supervised(apply, params, X, y, chunk_samples=9)).outputs == 3
    terms = [sg.Term(apply, X, y), sg.Term(apply, X[:4], y[:4])]
    assert Flow(sg.Objective(params, terms)).outputs == 3
    assert Flow(sg.minimise(lambda p: (p**2).sum(), np.ones(3))).outputs == 1


def test_the_last_evaluation_is_remembered(flow, objective):
    w = np.asarray(objective.w0) + 0.3
    slope = flow.rhs(0.0, w)
    assert flow.loss == float(objective.value_and_gradient(w)[0])
    assert flow.gradient_norm == pytest.approx(np.linalg.norm(slope))
    np.testing.assert_array_equal(flow.point, w)
    w += 1  # a solver may reuse its array
    assert not np.array_equal(flow.point, w)


def test_the_primed_start_is_evaluated_once_but_counted(flow, objective):
    w = np.asarray(objective.w0)
    loss, norm = flow.prime(w)
    assert sum(flow.counts.values()) == 0
    assert (loss, norm) == (flow.loss, flow.gradient_norm)
    first, slope = flow.value_and_gradient(w)
    assert (first, np.linalg.norm(slope)) == (loss, pytest.approx(norm, rel=4e-16))
    assert flow.counts["rhs_evaluations"] == flow.counts["presentations"] == 1


def test_the_primed_start_serves_one_evaluation_and_no_later_one(objective, monkeypatch):
    calls = []
    programs = flow_module._programs

    def counting(objective):
        found = programs(objective)
        return found | {"slope": lambda w: (calls.append(1), found["slope"](w))[1]}

    monkeypatch.setattr(flow_module, "_programs", counting)
    w = np.asarray(objective.w0)
    for first in (w, w + 1):
        flow = Flow(objective)
        flow.prime(w)
        calls.clear()
        flow.rhs(0.0, first)
        flow.rhs(0.0, w)
        flow.rhs(0.0, w)
        assert len(calls) == (2 if first is w else 3)
        assert flow.counts["rhs_evaluations"] == 3


def test_the_clocks_tell_where_the_time_goes(objective):
    def library():
        time.sleep(0.02)
        for _ in range(5):
            flow.rhs(0.0, w)
        flow.jacobian_at(w)
        flow.product(w, w)

    flow, w = Flow(objective), np.asarray(objective.w0)
    flow.warm_up("autodiff", "product")
    begin = time.perf_counter()
    flow.library(library)
    passed = time.perf_counter() - begin
    assert all(flow.seconds[name] > 0 for name in ("rhs_seconds", "jacobian_seconds"))
    assert flow.seconds["library_seconds"] >= 0.02
    assert sum(flow.seconds.values()) <= passed
    flow.rhs(0.0, w)
    assert flow.seconds["library_seconds"] <= passed


def test_large_data_are_arguments_and_give_the_same_numbers(objective, monkeypatch):
    w = np.asarray(objective.w0)
    embedded = Flow(objective)
    monkeypatch.setattr(flow_module, "EMBEDDED", 0)
    handed = Flow(objective)
    assert handed._run is not embedded._run
    np.testing.assert_allclose(handed.rhs(0.0, w), embedded.rhs(0.0, w), rtol=1e-13)
    np.testing.assert_allclose(handed.jacobian_at(w), embedded.jacobian_at(w), rtol=1e-12, atol=1e-14)
    monkeypatch.setattr(flow_module, "WHOLE", 0)
    np.testing.assert_allclose(handed.jacobian_at(w), embedded.jacobian_at(w), rtol=1e-12, atol=1e-14)


def test_refresh_evaluates_only_elsewhere(flow, objective):
    w = np.asarray(objective.w0)
    flow.rhs(0.0, w)
    flow.refresh(w)
    assert flow.counts["loss_evaluations"] == 0
    flow.refresh(w + 1)
    assert flow.counts["loss_evaluations"] == 1
    assert flow.loss == float(objective.value_and_gradient(w + 1)[0])


def test_past_the_deadline_nothing_is_evaluated(flow, objective):
    w = np.asarray(objective.w0)
    flow.deadline = time.perf_counter() - 1.0
    for call in (flow.value, flow.value_and_gradient, flow.jacobian_at):
        with pytest.raises(OutOfTime):
            call(w)
    assert sum(flow.counts.values()) == 0


def test_warm_up_and_reset_leave_no_counts(flow):
    for jacobian in (None, "autodiff", "gauss-newton", "finite-difference"):
        flow.warm_up(jacobian)
    assert sum(flow.counts.values()) == 0
    flow.rhs(0.0, np.ones(17))
    flow.reset()
    assert sum(flow.counts.values()) == 0
    assert np.isnan(flow.loss)
