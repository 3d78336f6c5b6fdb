"""Censored costs: bounds stay bounds, in every direction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiffgrad.laboratory.statistics import (
    AT_LEAST,
    AT_MOST,
    EQUAL,
    NEVER,
    Amount,
    cost,
    geometric_mean,
    median,
    quantile,
    span,
    thinned,
)

TIMES = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=9)


@given(TIMES, st.floats(0.01, 100.0))
def test_the_median_of_censored_times_bounds_the_true_one(times: list[float], budget: float) -> None:
    seen = median([cost(t if t <= budget else None, budget) for t in times])
    true = float(np.median(times))
    if seen.bound == EQUAL:
        assert seen.value == pytest.approx(true)
    else:
        assert seen.bound == AT_LEAST
        assert seen.value <= true * (1 + 1e-12)


@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_ratios_of_censored_times_bound_the_true_ratio(a: float, b: float, budget: float) -> None:
    ratio = cost(a if a <= budget else None, budget) / cost(b if b <= budget else None, budget)
    if a > budget and b > budget:
        assert math.isnan(ratio.value)
    elif a > budget:
        assert ratio.bound == AT_LEAST
        assert ratio.value <= a / b
    elif b > budget:
        assert ratio.bound == AT_MOST
        assert ratio.value >= a / b
    else:
        assert ratio == Amount(a / b)


def test_what_is_never_reached_lies_beyond_every_bound() -> None:
    one, missed = Amount(1.0), Amount(9.0, AT_LEAST)
    assert median([NEVER, one, Amount(3.0)]) == Amount(3.0)
    assert median([NEVER, missed, one]) == missed  # somewhere between its bound and never
    assert median([NEVER, NEVER, one]) == median([NEVER, NEVER]) == NEVER
    assert median([NEVER, one]) == Amount(1.0, AT_LEAST)
    assert NEVER / one == NEVER / missed == NEVER
    assert all(math.isnan((amount / NEVER).value) for amount in (one, missed, NEVER))
    assert geometric_mean([NEVER, one]) == one
    assert span([NEVER, one, missed]) == "1 to ≥ 9"
    assert (str(NEVER), NEVER.known) == ("never", False)


def test_means_keep_bounds_and_refuse_two_directions() -> None:
    one, low, high = Amount(2.0), Amount(8.0, AT_LEAST), Amount(8.0, AT_MOST)
    assert geometric_mean([one, low]) == Amount(pytest.approx(4.0), AT_LEAST)
    assert geometric_mean([one, high]) == Amount(pytest.approx(4.0), AT_MOST)
    assert math.isnan(geometric_mean([low, high]).value)
    assert math.isnan(geometric_mean([]).value)
    assert geometric_mean([one, Amount(math.nan)]).value == pytest.approx(2.0)


def test_quantiles_and_words() -> None:
    assert quantile([Amount(float(k)) for k in range(5)], 0.25) == Amount(1.0)
    assert quantile([Amount(1.0), Amount(9.0, AT_LEAST)], 0.5) == Amount(1.0, AT_LEAST)
    assert span([Amount(3.0, AT_LEAST), Amount(0.5)]) == "0.5 to ≥ 3"
    assert cost(None, None).known is False


@given(st.integers(1, 20_000), st.integers(0, 2**31))
def test_thinning_keeps_ends_and_lowest(count: int, seed: int) -> None:
    loss = np.exp(np.random.default_rng(seed).normal(size=count))
    rows = thinned(loss, [count // 3])
    assert {0, count - 1, int(np.argmin(loss)), count // 3} <= set(rows.tolist())
    assert len(rows) <= 400
