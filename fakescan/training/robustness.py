"""How well a model does on sources that are named, clean and as pictures reach people.

Every picture is judged under every degradation, with the thresholds of its judge's card. Those of
the folds' networks come from the other folds, so that no picture chose what it is judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fakescan.images import crop_positions, cut_crops
from fakescan.records import DEFAULT_CROPS, DEFAULT_MAX_FALSE_POSITIVE_RATE, FakescanError
from fakescan.training.attacks import AttackFigures, draw_evenly, measure_attacks
from fakescan.training.data import AI, REAL
from fakescan.training.evaluate import area_under_curve
from fakescan.training.figures import Condition, Outcome, SourceRow, Tables
from fakescan.training.photos import Kind, Origin, Photos
from fakescan.training.recompression import CLEAN, DEGRADATIONS
from fakescan.training.resampling import RESAMPLES, draw_weights
from fakescan.weights import ModelCard

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.model import Detector
    from fakescan.training.judges import Panel
    from fakescan.training.recompression import Degradation

    FloatArray = npt.NDArray[np.float64]
    BoolArray = npt.NDArray[np.bool_]
    CallArray = npt.NDArray[np.int8]
    IndexArray = npt.NDArray[np.int64]

ORIGINAL = "clean-original-jpeg-only"
"""Clean, of pictures alone that came as JPEG and kept its coefficients: one codec for all."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """AUC of a property that shows no pixel, in whichever direction tells more: at least 0.5."""

    name: str
    auc: float | None
    auc_original_jpeg_only: float | None


@dataclass(frozen=True, slots=True)
class JudgeThresholds:
    """The scores from which on this judge says `ai`, and up to which it says `real`."""

    judge: str
    ai: float
    real: float


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """All that was measured. `left_out` pictures had no judge; `too_small` degradations no window.

    `n` counts the judged pictures by kind. There are no `thresholds` where a judge has none.
    """

    model: str
    data: str
    out_of_fold: bool
    n: Mapping[str, int]
    left_out: int
    too_small: tuple[str, ...]
    max_false_positive_rate: float
    thresholds: tuple[JudgeThresholds, ...]
    resamples: int
    conditions: tuple[Condition, ...]
    baselines: tuple[Baseline, ...]
    sources: tuple[SourceRow, ...]
    attacks: tuple[AttackFigures, ...] = ()


def evaluate_photos(
    photos: Photos,
    panel: Panel,
    card: ModelCard,
    *,
    data: str = "",
    degradations: Mapping[str, Degradation] = DEGRADATIONS,
    max_false_positive_rate: float = DEFAULT_MAX_FALSE_POSITIVE_RATE,
    resamples: int = RESAMPLES,
) -> RobustnessReport:
    """Judge every picture that has a seat; `card` is the model's own.

    Clean, which must be among `degradations`, and in the others.

    Raises FakescanError where no picture of a class has a seat, where a crop is smaller than the
    window, and for a false-positive rate that a card can't promise.
    """
    thresholds = panel.thresholds(max_false_positive_rate)
    indices = np.flatnonzero(panel.seats >= 0)
    origins = [photos.origins[index] for index in indices]
    kinds = np.array([origin.kind.value for origin in origins])
    for kind in (Kind.AI, Kind.REAL):
        if not (kinds == kind.value).any():
            raise FakescanError(f"no {kind} picture is left to judge; figures need both classes")
    tables = Tables(
        kinds,
        draw_weights([origin.source for origin in origins], kinds.tolist(), resamples),
        has_gate=card.gates is not None,
    )
    outcomes: dict[str, Outcome] = {}
    too_small = []
    for name, degrade in degradations.items():
        judged = panel.judge(photos.pictures.pixels, indices, degrade, card.gates, name)
        if judged is None:
            too_small.append(name)
        else:
            logits, refusals = judged
            scores = panel.scores(logits, indices)
            calls = panel.calls(scores, indices, max_false_positive_rate)
            outcomes[name] = Outcome(logits, scores, calls, refusals)
    if CLEAN not in outcomes:
        raise FakescanError(
            f"the crops are smaller than the model's window of {card.input.size} px"
        )
    everything = np.ones(len(origins), dtype=np.bool_)
    is_original = np.array([origin.route.startswith("original") for origin in origins])
    measured = [tables.tabulate(name, one, everything) for name, one in outcomes.items()]
    measured.append(tables.tabulate(ORIGINAL, outcomes[CLEAN], is_original))
    return RobustnessReport(
        model=f"{card.name} {card.version}",
        data=data,
        out_of_fold=len(panel.judges) > 1,
        n={kind.value: int((kinds == kind.value).sum()) for kind in Kind},
        left_out=len(photos.origins) - len(indices),
        too_small=tuple(too_small),
        max_false_positive_rate=max_false_positive_rate,
        thresholds=tuple(
            JudgeThresholds(judge.card.name, ai, real)
            for judge, (real, ai) in zip(panel.judges, thresholds, strict=False)
        ),
        resamples=resamples,
        conditions=tuple(measured),
        baselines=_measure_baselines(origins, kinds, is_original),
        sources=tables.list_sources(origins, outcomes),
    )


def attack_photos(
    photos: Photos,
    panel: Panel,
    detectors: Sequence[Detector],
    count: int,
    *,
    max_false_positive_rate: float = DEFAULT_MAX_FALSE_POSITIVE_RATE,
    seed: int = 0,
) -> tuple[AttackFigures, ...]:
    """Attack the first window of about `count` pictures, drawn at random, half of each class.

    `detectors` are the panel's, in torch. Raises FakescanError where a class has no picture.
    """
    labels = photos.pictures.labels
    can_be_judged = panel.seats >= 0
    can_be_judged &= np.array([one.kind != Kind.CONFOUNDER for one in photos.origins])
    for kind, label in ((Kind.AI, AI), (Kind.REAL, REAL)):
        if not (can_be_judged & (labels == label)).any():
            raise FakescanError(f"--attack: no {kind} picture is left to judge")
    places = draw_evenly(labels, can_be_judged, count, seed)
    size = panel.judges[0].size
    windows = []
    for index in places.tolist():
        picture = photos.pictures.pixels[index]
        windows.append(
            cut_crops(picture, size, crop_positions(picture, size, DEFAULT_CROPS)[:1])[0]
        )

    def call(logits: FloatArray) -> CallArray | None:
        return panel.calls(panel.scores(logits, places), places, max_false_positive_rate)

    return measure_attacks(
        detectors,
        panel.seats[places],
        np.stack(windows),
        labels[places],
        call,
        seed,
    )


def _measure_baselines(
    origins: Sequence[Origin], kinds: npt.NDArray[np.str_], is_original: BoolArray
) -> tuple[Baseline, ...]:
    def area(values: Sequence[int | None], mask: BoolArray) -> float | None:
        known = mask & np.array([value is not None for value in values])
        ai, real = known & (kinds == Kind.AI.value), known & (kinds == Kind.REAL.value)
        if not ai.any() or not real.any():
            return None
        chosen = np.flatnonzero(ai | real)
        found = area_under_curve(
            np.array([float(values[index] or 0) for index in chosen.tolist()]),
            ai[chosen].astype(np.uint8),
        )
        return max(found, 1 - found)

    everything = np.ones(len(origins), dtype=np.bool_)
    properties: dict[str, list[int | None]] = {
        "file_size": [origin.file_size for origin in origins],
        "picture_area": [origin.area for origin in origins],
    }
    return tuple(
        Baseline(name, area(values, everything), area(values, is_original))
        for name, values in properties.items()
    )
