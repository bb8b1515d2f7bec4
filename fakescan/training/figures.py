"""Figures of judged pictures: a condition's, with and without the gate, and each source's.

Sources are resampled for the intervals, not pictures: see resampling.py. Confounders (scans,
posters and the like) are neither AI nor real: they have a figure of their own and are in no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fakescan.training.data import AI, REAL
from fakescan.training.evaluate import area_under_curve
from fakescan.training.photos import Kind, Origin
from fakescan.training.recompression import CLEAN
from fakescan.training.resampling import (
    Estimate,
    balanced_calibration_error,
    estimate,
    estimate_share,
    weigh_area,
    weigh_share,
    weigh_true_positive_rate,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import Reason

    FloatArray = npt.NDArray[np.float64]
    BoolArray = npt.NDArray[np.bool_]
    CallArray = npt.NDArray[np.int8]
    KindArray = npt.NDArray[np.str_]

SOURCE_CONDITIONS = (CLEAN, "jpeg-70", "half-jpeg-75")
"""What the table of sources shows."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One condition's figures; with the gate on, what it refuses is called neither AI nor real.

    AUC, the true positive rates, balanced accuracy and calibration error are of the `n_ai` and
    `n_real` pictures that are judged. The shares called something are of all pictures, refused
    ones too, since that is what a scan of them says. Accuracy and shares are at the judges'
    thresholds, None without. None also where a class is missing.
    """

    n_ai: int
    n_real: int
    auc: Estimate | None
    tpr_at_1_percent_fpr: Estimate | None
    tpr_at_5_percent_fpr: Estimate | None
    balanced_accuracy: Estimate | None
    real_called_ai: Estimate | None
    real_called_real: Estimate | None
    ai_called_ai: Estimate | None
    ai_called_real: Estimate | None
    confounders_called_ai: Estimate | None
    expected_calibration_error: float | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One degradation: figures without and with the gate, and the shares that it refuses.

    `gated` and `abstentions` (by kind of picture, then by reason) are None for a card without one.
    """

    name: str
    ungated: Figures
    gated: Figures | None
    abstentions: Mapping[str, Mapping[str, float]] | None


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """One source in one condition; `called_ai` is with the gate on where the card has one.

    `auc` is an AI source's against all real pictures, a real one's against all AI, no confounder's.
    """

    mean_score: float
    called_ai: float | None
    auc: float | None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A generator or a collection, and its figures by condition."""

    kind: str
    level: str
    name: str
    n: int
    conditions: Mapping[str, SourceFigures]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Logits (N,), scores (N,), calls (N,), and why the gate refuses each picture, or None.

    Calls are as `calibration.calls_of` has them, None without thresholds; the gate is not heard.
    """

    logits: FloatArray
    scores: FloatArray
    calls: CallArray | None
    refusals: tuple[Reason | None, ...]

    def take(self, mask: BoolArray) -> Outcome:
        """Those where `mask` (N,) is true."""
        kept = np.flatnonzero(mask)
        return Outcome(
            self.logits[kept],
            self.scores[kept],
            None if self.calls is None else self.calls[kept],
            tuple(self.refusals[index] for index in kept),
        )

    @property
    def is_judged(self) -> BoolArray:
        """Which pictures (N,) the gate lets pass."""
        return np.array([reason is None for reason in self.refusals], dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """From outcomes to figures; `kinds` (N,), and `weights` (R, N) of the resamples."""

    kinds: KindArray
    weights: FloatArray
    has_gate: bool

    def tabulate(self, name: str, outcome: Outcome, mask: BoolArray) -> Condition:
        """The figures of the pictures where `mask` (N,) is true."""
        kinds, weights = self.kinds[mask], self.weights[:, mask]
        outcome = outcome.take(mask)
        everything = np.ones(len(kinds), dtype=np.bool_)
        gated = None
        if self.has_gate:
            gated = self._measure(outcome, outcome.is_judged, kinds, weights)
        return Condition(
            name=name,
            ungated=self._measure(outcome, everything, kinds, weights),
            gated=gated,
            abstentions=_count_abstentions(outcome, kinds) if self.has_gate else None,
        )

    def _measure(
        self,
        outcome: Outcome,
        is_judged: BoolArray,
        kinds: KindArray,
        weights: FloatArray,
    ) -> Figures:
        is_ai, is_real = kinds == Kind.AI.value, kinds == Kind.REAL.value
        is_confounder = kinds == Kind.CONFOUNDER.value
        ai, real = is_ai & is_judged, is_real & is_judged
        ai_weights, real_weights = weights[:, ai], weights[:, real]
        pair = (outcome.logits[ai], outcome.logits[real], ai_weights, real_weights)
        balanced = called_ai = called_real = None
        if outcome.calls is not None:
            called_ai = (outcome.calls == 1) & is_judged
            called_real = (outcome.calls == -1) & is_judged
            recall = weigh_share(called_ai[ai], ai_weights)
            specificity = 1 - weigh_share(called_ai[real], real_weights)
            balanced = estimate((recall + specificity) / 2)

        def share(called: BoolArray | None, own: BoolArray) -> Estimate | None:
            return None if called is None else estimate_share(called[own], weights[:, own])

        return Figures(
            n_ai=int(ai.sum()),
            n_real=int(real.sum()),
            auc=estimate(weigh_area(*pair)),
            tpr_at_1_percent_fpr=estimate(weigh_true_positive_rate(*pair, 0.01)),
            tpr_at_5_percent_fpr=estimate(weigh_true_positive_rate(*pair, 0.05)),
            balanced_accuracy=balanced,
            real_called_ai=share(called_ai, is_real),
            real_called_real=share(called_real, is_real),
            ai_called_ai=share(called_ai, is_ai),
            ai_called_real=share(called_real, is_ai),
            confounders_called_ai=share(called_ai, is_confounder),
            expected_calibration_error=balanced_calibration_error(
                outcome.scores[ai], outcome.scores[real]
            ),
        )

    def list_sources(
        self, origins: Sequence[Origin], outcomes: Mapping[str, Outcome]
    ) -> tuple[SourceRow, ...]:
        """One row for each generator and each collection of a kind, the worst told first."""
        members: dict[tuple[str, str, str], list[int]] = {}
        for index, origin in enumerate(origins):
            for level, name in (("generator", origin.generator), ("collection", origin.collection)):
                if name:
                    members.setdefault((origin.kind.value, level, name), []).append(index)
        shown = [name for name in SOURCE_CONDITIONS if name in outcomes]
        rows = [
            SourceRow(
                kind=kind,
                level=level,
                name=name,
                n=len(own),
                conditions={one: self._measure_source(kind, own, outcomes[one]) for one in shown},
            )
            for (kind, level, name), own in members.items()
        ]
        return tuple(sorted(rows, key=_worst_first))

    def _measure_source(self, kind: str, own: list[int], outcome: Outcome) -> SourceFigures:
        called = auc = None
        if outcome.calls is not None:
            is_called = (outcome.calls == 1) & outcome.is_judged
            called = float(is_called[own].mean())
        if kind != Kind.CONFOUNDER.value:
            other = Kind.REAL if kind == Kind.AI.value else Kind.AI
            against = np.flatnonzero(self.kinds == other.value)
            label, opposite = (AI, REAL) if kind == Kind.AI.value else (REAL, AI)
            auc = area_under_curve(
                outcome.logits[[*own, *against]],
                np.repeat(np.array([label, opposite], np.uint8), [len(own), len(against)]),
            )
        return SourceFigures(float(outcome.scores[own].mean()), called, auc)


def _worst_first(row: SourceRow) -> tuple[bool, float, float, str, str]:
    clean = row.conditions[CLEAN]
    # Confounders have no AUC: they come last, the most accused first.
    return clean.auc is None, clean.auc or 0.0, -clean.mean_score, row.level, row.name


def _count_abstentions(outcome: Outcome, kinds: KindArray) -> dict[str, dict[str, float]]:
    reasons = sorted({reason for reason in outcome.refusals if reason is not None})
    refusals = np.array([reason or "" for reason in outcome.refusals])
    return {
        kind: {
            reason.value: float((refusals[kinds == kind] == reason.value).mean())
            for reason in reasons
        }
        for kind in sorted(set(kinds.tolist()))
    }
