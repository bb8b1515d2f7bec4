"""Calibration of a finished model on labelled pictures of its user's, kept on a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fakescan import __version__
from fakescan.backends import VERDICTS_CHANGED
from fakescan.calibration import fit_calibration, fit_thresholds, scores_of
from fakescan.records import FakescanError
from fakescan.training.evaluate import (
    area_under_curve,
    balanced_calibration_error,
    probabilities_of,
)
from fakescan.weights import Calibration, Domain, ModelCard

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.training.evaluate import FloatArray, LabelArray
    from fakescan.training.fullsize import FullSize

FOLDS = 5

LEAST = 30
"""Pictures of each class: fewer can't show the loosest false-positive rate of the table, 10 %."""


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """What a calibration was made of, and how good it is.

    The errors are expected calibration errors with both classes weighted evenly. `error_before` is
    that of sigmoid(logit). `error_after` is cross-fitted: each of `folds` parts of the pictures is
    judged by a calibration fitted to the others. `confounders` are among the `real`.
    """

    data: str
    real: int
    ai: int
    left_out: Mapping[str, int]
    shortest_side: int
    longest_side: int
    auc: float
    error_before: float
    error_after: float
    folds: int
    program: str
    confounders: int = 0


def calibrate_card(card: ModelCard, measured: FullSize) -> tuple[ModelCard, CalibrationFigures]:
    """`card`, as it was shipped, with calibration, thresholds and domain by `measured`.

    Raises FakescanError for fewer than `LEAST` pictures of a class, and for a model that takes
    them the wrong way round.
    """
    logits, labels = measured.found.logits, measured.found.labels
    real, ai = int((labels == 0).sum()), int((labels == 1).sum())
    if min(real, ai) < LEAST:
        raise FakescanError(
            f"{measured.found.data}: {real} real and {ai} AI pictures that the model judges;"
            f" at least {LEAST} of each are needed, and 300 real ones for --max-fpr 0.01"
        )
    auc = area_under_curve(logits, labels)
    calibration = fit_calibration(logits, labels)
    if auc <= 0.5 or calibration.slope <= 0:
        raise FakescanError(
            f"model {card.name} takes the real pictures of {measured.found.data} for AI more than"
            f" the AI ones (AUC {auc:.3f}): it can't be calibrated on them, or its --ai-label is"
            " the wrong one"
        )
    shortest, longest = int(measured.sides.min()), int(measured.sides.max())
    figures = CalibrationFigures(
        data=measured.found.data,
        real=real,
        ai=ai,
        left_out=measured.left_out,
        shortest_side=shortest,
        longest_side=longest,
        auc=auc,
        error_before=balanced_calibration_error(probabilities_of(logits, None), labels),
        error_after=balanced_calibration_error(cross_fit(logits, labels), labels),
        folds=FOLDS,
        program=f"fakescan {__version__}",
        confounders=measured.confounders,
    )
    scans = ""
    if measured.confounders:
        scans = f" ({measured.confounders} of them scans, posters and the like)"
    # How many verdicts faster arithmetic changes was counted at thresholds that no longer hold.
    metrics = {name: one for name, one in card.metrics.items() if name != VERDICTS_CHANGED}
    about = f"pictures of {shortest} to {longest} px a side, like those of {measured.found.data}"
    calibrated = replace(
        card,
        calibration=calibration,
        thresholds=fit_thresholds(scores_of(logits, calibration), labels),
        domain=Domain(max(shortest, card.domain.minimum_side), longest, about),
        metrics={**metrics, "calibrated": asdict(figures)},
        limits=(
            *card.limits,
            f"Calibrated by its user on {real} real{scans} and {ai} AI pictures of"
            f" {measured.found.data}: its rates hold for pictures like them.",
        ),
    )
    return calibrated, figures


def cross_fit(logits: FloatArray, labels: LabelArray) -> FloatArray:
    """Probabilities (N,) of logits (N,), each by a calibration that has not seen it."""
    probabilities = np.empty(len(logits))
    parts = _parts(labels)
    for part in range(FOLDS):
        own = parts == part
        fitted: Calibration = fit_calibration(logits[~own], labels[~own])
        probabilities[own] = probabilities_of(logits[own], fitted)
    return probabilities


def _parts(labels: LabelArray) -> npt.NDArray[np.int64]:
    """A part for each picture (N,), drawn evenly within each class."""
    generator = np.random.default_rng(0)
    parts = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        parts[generator.permutation(own)] = np.arange(len(own)) % FOLDS
    return parts
