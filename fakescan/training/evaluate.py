"""How well a detector tells labelled pictures apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fakescan.images import crop_positions, cut_crops
from fakescan.records import DEFAULT_CROPS, FakescanError, Split
from fakescan.training.data import Pictures, default_split, read_dataset, source_of
from fakescan.weights import Calibration, ModelCard

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from fakescan.backends import Backend
    from fakescan.records import UInt8Array

    FloatArray = npt.NDArray[np.float64]
    LabelArray = npt.NDArray[np.uint8]

_PICTURES_A_BATCH = 256

CALIBRATION_BINS = 15
"""As in Guo et al. 2017, "On Calibration of Modern Neural Networks"."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures of one detector on labelled pictures; AI is the positive class.

    All but `n` and the four counts lie in [0, 1]; `log_loss` is in nats. Accuracy, precision,
    recall, F1 and the counts are at a probability of one half.
    """

    n: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float
    tpr_at_1_percent_fpr: float
    expected_calibration_error: float
    log_loss: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Metrics, the probabilities (N,) and labels (N,) that they come from, and each one's source.

    `sources` (N,) are the folders below those of the classes: generators and collections.
    """

    model: str
    data: str
    split: str
    metrics: Metrics
    probabilities: FloatArray
    labels: LabelArray
    sources: tuple[str | None, ...]

    def called_ai_by_source(self) -> list[tuple[str, bool, float, int]]:
        """(source, whether it is AI, share called AI at one half, n), AI first, best first."""
        indices: dict[tuple[str, bool], list[int]] = {}
        for index, (source, label) in enumerate(zip(self.sources, self.labels, strict=True)):
            if source is not None:
                indices.setdefault((source, bool(label == 1)), []).append(index)
        rows = [
            (source, is_ai, float((self.probabilities[own] >= 0.5).mean()), len(own))
            for (source, is_ai), own in indices.items()
        ]
        return sorted(rows, key=lambda row: (not row[1], -row[2], row[0]))


def compute_metrics(
    logits: FloatArray, labels: LabelArray, calibration: Calibration | None
) -> Metrics:
    """Figures of logits (N,) against labels (N,); without calibration, of sigmoid(logit).

    Raises ValueError where a class is missing.
    """
    p = probabilities_of(logits, calibration)
    truth = labels == 1
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        raise ValueError("metrics need both classes")
    called = p >= 0.5
    tp, fp = int((called & truth).sum()), int((called & ~truth).sum())
    tn, fn = negatives - fp, positives - tp
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / positives
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    return Metrics(
        n=len(labels),
        accuracy=(tp + tn) / len(labels),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if tp else 0.0,
        auc=area_under_curve(logits, labels),
        tpr_at_1_percent_fpr=true_positive_rate(logits, labels, 0.01),
        expected_calibration_error=calibration_error(p, labels),
        log_loss=float(-np.mean(np.where(truth, np.log(clipped), np.log(1 - clipped)))),
        true_positives=tp,
        false_positives=fp,
        true_negatives=tn,
        false_negatives=fn,
    )


def probabilities_of(logits: FloatArray, calibration: Calibration | None) -> FloatArray:
    """Calibrated probabilities (N,) of logits (N,), unrounded."""
    slope, intercept = (calibration.slope, calibration.intercept) if calibration else (1.0, 0.0)
    return 1 / (1 + np.exp(-np.clip(slope * logits + intercept, -60, 60)))


def area_under_curve(logits: FloatArray, labels: LabelArray) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic, ties counted half."""
    _, inverse, counts = np.unique(logits, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    above = ranks[labels == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def roc_curve(logits: FloatArray, labels: LabelArray) -> tuple[FloatArray, FloatArray]:
    """False and true positive rates, each (M,), at every distinct threshold, from 0 to 1."""
    values, inverse = np.unique(-logits, return_inverse=True)
    called = np.zeros((2, len(values)))
    np.add.at(called, (labels.astype(int), inverse), 1)
    rates = np.cumsum(called, axis=1) / called.sum(axis=1, keepdims=True)
    false_positive, true_positive = np.concatenate([np.zeros((2, 1)), rates], axis=1)
    return false_positive, true_positive


def true_positive_rate(logits: FloatArray, labels: LabelArray, max_fpr: float) -> float:
    """The best true positive rate at a false positive rate of at most `max_fpr`."""
    false_positive, true_positive = roc_curve(logits, labels)
    return float(true_positive[false_positive <= max_fpr].max())


def calibration_error(
    probabilities: FloatArray, labels: LabelArray, bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error of P(AI), in `bins` bins of equal width (Guo et al. 2017)."""
    total = 0.0
    for confidence, frequency, count in reliability(probabilities, labels, bins):
        total += count / len(labels) * abs(confidence - frequency)
    return total


def balanced_calibration_error(
    probabilities: FloatArray, labels: LabelArray, bins: int = CALIBRATION_BINS
) -> float:
    """`calibration_error` with both classes weighted evenly, as probabilities at even odds are."""
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    is_ai = labels == 1
    weights = np.where(is_ai, 0.5 / is_ai.sum(), 0.5 / (~is_ai).sum())
    gaps = np.bincount(index, weights * (probabilities - is_ai))
    return float(np.abs(gaps).sum())


def reliability(
    probabilities: FloatArray, labels: LabelArray, bins: int = CALIBRATION_BINS
) -> list[tuple[float, float, int]]:
    """(mean probability, frequency of AI, count) of every bin that is not empty."""
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        inside = index == number
        if count := int(inside.sum()):
            rows.append(
                (float(probabilities[inside].mean()), float((labels[inside] == 1).mean()), count)
            )
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSplit:
    """The pictures of one split, and where they come from."""

    data: str
    split: Split
    pictures: Pictures


@dataclass(frozen=True, slots=True, eq=False)
class LabelledLogits:
    """Uncalibrated logits (N,) of pictures with their labels (N,), 1 for AI, and names.

    `split` is None where the data has no splits.
    """

    data: str
    split: Split | None
    logits: FloatArray
    labels: LabelArray
    names: tuple[str, ...]


def read_split(path: Path, side: int, split: Split | None = None) -> LabelledSplit:
    """One split of the labelled pictures at `path`, `side` pixels square.

    Without `split`, the test split where there is one, else validation, else train.
    Raises FakescanError for unusable data.
    """
    dataset = read_dataset(path, side=side)
    split = split or default_split(dataset.splits)
    if split not in dataset.splits:
        raise FakescanError(f"{path}: there is no {split} split")
    return LabelledSplit(dataset.name, split, dataset.splits[split])


def evaluate(backend: Backend, labelled: LabelledSplit) -> Evaluation:
    """Run `backend` over labelled pictures of its size, and compare."""
    pictures = labelled.pictures
    logits = pooled_logits(backend.logits, pictures.pixels, backend.card.input.size)
    found = LabelledLogits(labelled.data, labelled.split, logits, pictures.labels, pictures.names)
    return evaluate_logits(backend.card, found)


def evaluate_logits(card: ModelCard, found: LabelledLogits) -> Evaluation:
    """Compare the logits of the model of `card` with the labels."""
    return Evaluation(
        model=f"{card.name} {card.version}",
        data=found.data,
        split="all" if found.split is None else found.split.value,
        metrics=compute_metrics(found.logits, found.labels, card.calibration),
        probabilities=probabilities_of(found.logits, card.calibration),
        labels=found.labels,
        sources=tuple(source_of(name) for name in found.names),
    )


def pooled_logits(
    logits_of: Callable[[UInt8Array], npt.NDArray[np.float32]], pixels: UInt8Array, size: int
) -> FloatArray:
    """Logits (N,) of pictures (N, S, S, 3): the mean over the windows that a scan would cut."""
    batches = np.array_split(pixels, max(1, math.ceil(len(pixels) / _PICTURES_A_BATCH)))
    return np.concatenate([_pooled(logits_of, batch, size) for batch in batches])


def _pooled(
    logits_of: Callable[[UInt8Array], npt.NDArray[np.float32]], batch: UInt8Array, size: int
) -> FloatArray:
    if batch.shape[1:3] == (size, size):
        return logits_of(batch).astype(np.float64)
    crops = [
        cut_crops(picture, size, crop_positions(picture, size, DEFAULT_CROPS)) for picture in batch
    ]
    # One size of picture, one number of windows.
    logits = [logits_of(np.stack(windows)) for windows in zip(*crops, strict=True)]
    pooled: FloatArray = np.mean(logits, axis=0).astype(np.float64)
    return pooled
