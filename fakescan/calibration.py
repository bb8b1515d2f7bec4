"""From logits to probabilities, and from a wanted error rate to a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fakescan.records import FakescanError
from fakescan.weights import Calibration, ModelCard, Threshold, Thresholds

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    CallArray = npt.NDArray[np.int8]
    FloatArray = npt.NDArray[np.float64]
    LabelArray = npt.NDArray[np.uint8]

SCORE_PLACES = 4
"""Scores are rounded to this before any threshold, so that a report's number decides."""

_SCORE_STEP: float = 10.0**-SCORE_PLACES

# Above it AI is the likelier: "no sign of AI" beside such a score would mislead.
_HIGHEST_REAL_SCORE = 0.5

# What binary fractions lose: a third of 0.15 is less than 0.05.
_SLACK = 1e-9

FALSE_POSITIVE_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
MAX_MISSED_AI_RATE = 0.05
"""`real` is said where at most this part of validation AI falls."""


def calibrated_logit(logit: float, calibration: Calibration) -> float:
    """The logarithm of the odds of AI, at even prior odds."""
    return calibration.slope * logit + calibration.intercept


def probability(logit: float, calibration: Calibration) -> float:
    """The calibrated probability of AI at even prior odds, in [0, 1], to four places."""
    return to_score(calibrated_logit(logit, calibration))


def to_score(x: float) -> float:
    """The probability of a calibrated logit, in [0, 1], to four places."""
    # The two branches keep exp from overflowing.
    p = 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
    return round(p, SCORE_PLACES)


def fit_calibration(logits: FloatArray, labels: LabelArray) -> Calibration:
    """Platt scaling (Platt 1999) of logits (N,) to labels (N,), classes weighted evenly.

    Newton's method on the two parameters. Platt's own softened targets keep it finite where the
    classes separate. Raises ValueError where a class is missing.
    """
    import numpy as np

    positives, negatives = int(np.sum(labels == 1)), int(np.sum(labels == 0))
    if not positives or not negatives:
        raise ValueError("calibration needs both classes")
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = np.where(labels == 1, 0.5 / positives, 0.5 / negatives)
    # Logits of any scale: without this the first Newton step may leave the basin.
    scale = float(np.std(logits)) or 1.0
    design = np.stack([logits / scale, np.ones_like(logits)], axis=1)
    parameters = np.zeros(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ parameters, -60, 60)))
        gradient = design.T @ (weights * (p - targets))
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        parameters -= step * min(1.0, 2 / max(1e-12, float(np.abs(step).max())))
        if float(np.abs(step).max()) < 1e-9:
            break
    slope, intercept = parameters
    return Calibration(float(slope / scale), float(intercept), len(logits))


def scores_of(logits: FloatArray, calibration: Calibration) -> FloatArray:
    """`probability` of each of logits (N,)."""
    import numpy as np

    return np.array([probability(float(logit), calibration) for logit in logits])


def calls_of(scores: FloatArray, thresholds: tuple[float, float]) -> CallArray:
    """1 for `ai`, -1 for `real`, 0 for neither, of scores (N,) at thresholds (real, ai)."""
    import numpy as np

    threshold_real, threshold_ai = thresholds
    called: CallArray = (scores >= threshold_ai).astype(np.int8)
    return called - (scores <= threshold_real)


def fit_thresholds(scores: FloatArray, labels: LabelArray) -> Thresholds | None:
    """The threshold table of scores (N,): every usual false-positive rate that N can show.

    By the rule of three, no rate below 3 / n can be claimed from n real images. A threshold lets so
    few of them pass that the next real image exceeds it with at most that probability, were it
    drawn as they were (split conformal prediction: Vovk, Gammerman & Shafer 2005). None where N
    is too small for any rate: such a model's score can be shown, and decides nothing.
    """
    import numpy as np

    real, ai = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
    rows = tuple(
        Threshold(rate, _lowest_score_above(real, rate), len(real))
        for rate in FALSE_POSITIVE_RATES
        if rate >= 3 / len(real)
    )
    if not rows:
        return None
    # The highest score that at most 5 % of AI doesn't exceed.
    allowed = math.floor(MAX_MISSED_AI_RATE * len(ai))
    # Below zero where so much AI scores nothing that `real` can't be said at all.
    real_score = round(float(ai[allowed]) - _SCORE_STEP, SCORE_PLACES)
    return Thresholds(ai=rows, real=Threshold(MAX_MISSED_AI_RATE, real_score, len(ai)))


def strictest_thresholds(tables: Sequence[Thresholds | None]) -> Thresholds | None:
    """One table that keeps every promise of several, measured in different conditions.

    None where one of them can't promise anything.
    """
    known = [table for table in tables if table is not None]
    if not known or len(known) < len(tables):
        return None
    rates = set.intersection(*({row.rate for row in table.ai} for table in known))
    rows = [
        max((row for table in known for row in table.ai if row.rate == rate), key=_score_of)
        for rate in sorted(rates)
    ]
    return Thresholds(ai=tuple(rows), real=min((table.real for table in known), key=_score_of))


def _score_of(threshold: Threshold) -> float:
    return threshold.score


def _lowest_score_above(real: FloatArray, rate: float) -> float:
    # Of n + 1 images in any order, the last is among the `allowed + 1` highest this often.
    allowed = math.floor(rate * (len(real) + 1) + _SLACK) - 1
    return round(float(real[len(real) - allowed - 1]) + _SCORE_STEP, SCORE_PLACES)


def pick_thresholds(card: ModelCard, max_false_positive_rate: float) -> tuple[float, float] | None:
    """(threshold_real, threshold_ai) of `card` for a wanted false-positive rate.

    The table's nearest row at or below the rate holds. None for a model without calibration.
    `real` is never said of a score above one half, however little AI scores so low, nor of one
    from which on `ai` is said. Raises FakescanError for a rate below the
    table's lowest.
    """
    if card.calibration is None or card.thresholds is None:
        return None
    rows = [row for row in card.thresholds.ai if row.rate <= max_false_positive_rate + _SLACK]
    if not rows:
        least = min(card.thresholds.ai, key=lambda row: row.rate)
        raise FakescanError(
            f"--max-fpr {max_false_positive_rate:g}: model {card.name} was measured on {least.n}"
            f" real images and can promise no less than {least.rate:g}"
        )
    threshold_ai = max(rows, key=lambda row: row.rate).score
    below_ai = round(threshold_ai - _SCORE_STEP, SCORE_PLACES)
    threshold_real = min(card.thresholds.real.score, _HIGHEST_REAL_SCORE, below_ai)
    return threshold_real, threshold_ai
