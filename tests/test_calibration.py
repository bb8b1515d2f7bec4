from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import CARD

from fakescan.calibration import (
    FALSE_POSITIVE_RATES,
    fit_calibration,
    fit_thresholds,
    pick_thresholds,
    probability,
    scores_of,
    strictest_thresholds,
)
from fakescan.records import FakescanError
from fakescan.weights import Calibration, Threshold, Thresholds

IDENTITY = Calibration(1.0, 0.0, 0)


@pytest.mark.parametrize(
    ("logit", "calibration", "expected"),
    [
        (0.0, IDENTITY, 0.5),
        (math.log(3), IDENTITY, 0.75),
        (-math.log(3), IDENTITY, 0.25),
        (1.0, Calibration(2.0, -2.0, 0), 0.5),
        (0.5, Calibration(math.log(9), math.log(3), 0), 0.9),
        (1e6, IDENTITY, 1.0),
        (-1e6, IDENTITY, 0.0),
        (math.inf, IDENTITY, 1.0),
        (1.23456, IDENTITY, 0.7746),
    ],
)
def test_probabilities(logit: float, calibration: Calibration, expected: float) -> None:
    assert probability(logit, calibration) == expected


def sample(slope: float, intercept: float, count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true probability of AI, at even odds, is sigmoid(slope x + intercept)."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, count)
    p = 1 / (1 + np.exp(-(slope * logits + intercept)))
    return logits, (random.random(count) < p).astype(np.uint8)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, 0.0), (3.0, 0.0)])
def test_calibration_finds_the_slope(slope: float, intercept: float) -> None:
    found = fit_calibration(*sample(slope, intercept))
    assert found.slope == pytest.approx(slope, rel=0.05)
    assert found.intercept == pytest.approx(intercept, abs=0.05)
    assert found.n == 40_000


def test_calibration_is_at_even_odds_whatever_the_mixture() -> None:
    random = np.random.default_rng(1)
    logits = np.concatenate([random.normal(-1, 1, 20_000), random.normal(1, 1, 2_000)])
    labels = np.repeat([0, 1], [20_000, 2_000]).astype(np.uint8)
    found = fit_calibration(logits, labels)
    # Two normal laws 2 apart, of variance 1: the log odds are 2 x, at even odds without shift.
    assert found.slope == pytest.approx(2, rel=0.05)
    assert found.intercept == pytest.approx(0, abs=0.1)


def test_calibration_of_logits_of_any_scale() -> None:
    logits, labels = sample(1.0, 0.0, 4000)
    expected = scores_of(logits, fit_calibration(logits, labels))
    for scale in (1e-4, 1e4):
        found = scores_of(logits * scale, fit_calibration(logits * scale, labels))
        assert found == pytest.approx(expected, abs=2e-4)


def test_calibration_stays_finite_where_classes_separate() -> None:
    found = fit_calibration(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([0, 0, 1, 1], np.uint8))
    assert 0 < found.slope < 10
    assert 0.5 < probability(3.0, found) < 1


def test_calibration_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="both classes"):
        fit_calibration(np.array([1.0, 2.0]), np.array([1, 1], np.uint8))


# Thresholds


def spread(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Real pictures scoring 0 to just under 0.5 evenly, AI from 0.5 to just under 1."""
    scores = np.round(np.arange(2 * count) / (2 * count), 4)
    return scores, np.repeat([0, 1], count).astype(np.uint8)


def test_thresholds_of_known_scores() -> None:
    thresholds = fit_thresholds(*spread(1000))
    assert thresholds is not None
    table = {row.rate: row.score for row in thresholds.ai}
    # Of 1,000 reals 9 may be called: those from 0.4955 on. One step above the 10th highest.
    assert table[0.01] == pytest.approx(0.4951)
    assert table[0.1] == pytest.approx(0.4501)
    # Of 1,000 AI 50 may be missed: those up to 0.5245. One step below the 51st lowest.
    assert thresholds.real == Threshold(0.05, pytest.approx(0.5249), 1000)


@pytest.mark.parametrize("count", [40, 300, 1000, 3000])
def test_thresholds_keep_their_promise_where_scores_tie(count: int) -> None:
    random = np.random.default_rng(count)
    scores = random.integers(0, 12, 2 * count) / 11
    labels = np.repeat([0, 1], count).astype(np.uint8)
    thresholds = fit_thresholds(scores, labels)
    assert thresholds is not None
    assert [row.rate for row in thresholds.ai] == [
        rate for rate in FALSE_POSITIVE_RATES if rate >= 3 / count
    ]
    for row in thresholds.ai:
        assert np.mean(scores[labels == 0] >= row.score) <= row.rate
        assert row.n == count
    assert np.mean(scores[labels == 1] <= thresholds.real.score) <= 0.05


@pytest.mark.parametrize(("count", "rate"), [(30, 0.1), (300, 0.01), (1000, 0.05)])
def test_of_new_pictures_no_more_are_called_than_promised(count: int, rate: float) -> None:
    # Over many draws of the pictures that set the threshold: of a single draw chance decides.
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], count).astype(np.uint8)
    called = []
    for _ in range(400):
        # Even scores, so that the share of all real ones above a threshold is known.
        scores = np.concatenate([random.random(count).round(4), np.ones(count)])
        thresholds = fit_thresholds(scores, labels)
        assert thresholds is not None
        called.append(1 - next(row.score for row in thresholds.ai if row.rate == rate))
    error = np.std(called) / math.sqrt(len(called))
    assert rate - 3 * error - 1 / count < np.mean(called) < rate + 3 * error


def test_too_few_pictures_promise_nothing() -> None:
    assert fit_thresholds(*spread(29)) is None
    thresholds = fit_thresholds(*spread(30))
    assert thresholds is not None
    assert [row.rate for row in thresholds.ai] == [0.1]


@pytest.mark.parametrize(
    ("wanted", "threshold_ai"),
    [(0.005, 0.95), (0.009, 0.95), (0.01, 0.9), (0.03, 0.9), (0.05, 0.6), (0.5, 0.6)],
)
def test_the_nearest_rate_at_or_below_holds(wanted: float, threshold_ai: float) -> None:
    assert pick_thresholds(CARD, wanted) == (0.2, threshold_ai)


def test_a_rate_that_was_never_measured_is_refused() -> None:
    message = "measured on 1000 real images and can promise no less than 0.005"
    with pytest.raises(FakescanError, match=message):
        pick_thresholds(CARD, 0.004)


def test_a_model_without_calibration_has_no_thresholds() -> None:
    assert pick_thresholds(replace(CARD, calibration=None), 0.01) is None
    assert pick_thresholds(replace(CARD, thresholds=None), 0.01) is None


def test_where_thresholds_cross_real_ends_where_ai_begins() -> None:
    crossed = Thresholds(ai=(Threshold(0.01, 0.3, 1000),), real=Threshold(0.05, 0.7, 1000))
    assert pick_thresholds(replace(CARD, thresholds=crossed), 0.01) == (0.2999, 0.3)


def test_real_is_never_said_of_what_is_likelier_ai() -> None:
    assert CARD.thresholds is not None
    sure = replace(
        CARD.thresholds, real=Threshold(0.05, 0.69, 2481), ai=(Threshold(0.01, 0.93, 2500),)
    )
    assert pick_thresholds(replace(CARD, thresholds=sure), 0.01) == (0.5, 0.93)


def test_the_strictest_of_several_tables_keeps_every_promise() -> None:
    def table(half_percent: float | None, one_percent: float, real: float) -> Thresholds:
        rows = [] if half_percent is None else [Threshold(0.005, half_percent, 900)]
        rows.append(Threshold(0.01, one_percent, 900))
        return Thresholds(ai=tuple(rows), real=Threshold(0.05, real, 500))

    joined = strictest_thresholds([table(0.9, 0.7, 0.2), table(0.8, 0.75, 0.3)])
    assert joined == table(0.9, 0.75, 0.2)
    # A rate that one condition can't show is not promised in any.
    assert strictest_thresholds([table(0.9, 0.7, 0.2), table(None, 0.6, 0.1)]) == table(
        None, 0.7, 0.1
    )
    assert strictest_thresholds([table(0.9, 0.7, 0.2), None]) is None
