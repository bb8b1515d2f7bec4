"""Who judges which picture: one model all of them, or each fold's what it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from fakescan.backends import BackendName, Precision, load_backend
from fakescan.calibration import calls_of, pick_thresholds, scores_of
from fakescan.gates import check_gates
from fakescan.hub import LocatedModel
from fakescan.model import Detector, build_detector, pick_device
from fakescan.processing import process
from fakescan.records import FakescanError, Split
from fakescan.training.evaluate import pooled_logits
from fakescan.training.folds import FOLDS, fold_weights
from fakescan.weights import Calibration, ModelCard, load_card, load_tensors

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import Reason, UInt8Array
    from fakescan.training.folds import Folds
    from fakescan.training.photos import Origin
    from fakescan.weights import Gates

    BoolArray = npt.NDArray[np.bool_]
    CallArray = npt.NDArray[np.int8]
    FloatArray = npt.NDArray[np.float64]
    SeatArray = npt.NDArray[np.int64]

_PICTURES_A_BATCH = 128
_WHOLE = 32
"""Pictures a batch for published models, which take up to a megabyte each as prepared."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A model: its logits of windows, its card, and its weights' file, where it has one."""

    logits_of: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
    card: ModelCard
    weights: Path | None = None

    @property
    def size(self) -> int:
        """The side in pixels that pictures must have at least."""
        return 1 if self._processor is not None else self.card.input.size

    @property
    def _processor(self) -> Mapping[str, Any] | None:
        # A published model's own way with pictures, of any size.
        return self.card.input.processor

    def logits(self, pixels: UInt8Array) -> FloatArray:
        """Logits (N,) of pictures (N, H, W, 3), by the scan's crop rule and pooling."""
        if self._processor is not None:
            return np.concatenate(
                [self._whole(pixels[at : at + _WHOLE]) for at in range(0, len(pixels), _WHOLE)]
            )
        return pooled_logits(self.logits_of, pixels, self.size)

    def scores(self, logits: FloatArray) -> FloatArray:
        """Scores (N,) of logits (N,); sigmoids where the card has no calibration."""
        return scores_of(logits, self.card.calibration or Calibration(1.0, 0.0, 0))

    def _whole(self, pixels: UInt8Array) -> FloatArray:
        assert self._processor is not None
        prepared = [process(picture, self._processor) for picture in pixels]
        if any(picture is None for picture in prepared):
            raise FakescanError("the model's library refuses pictures of this size")
        return self.logits_of(np.stack([one for one in prepared if one is not None])).astype(float)


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Judges, and for each picture (N,) the index of its own in `seats`; -1 where none may."""

    judges: tuple[Judge, ...]
    seats: SeatArray

    def logits(self, pixels: UInt8Array, indices: SeatArray) -> FloatArray:
        """Logits (M,) of `pixels` (M, H, W, 3), which are the pictures at `indices`."""
        logits = np.empty(len(indices))
        for seat, own in self._seated(indices):
            logits[own] = self.judges[seat].logits(pixels[own])
        return logits

    def scores(self, logits: FloatArray, indices: SeatArray) -> FloatArray:
        """Scores (M,) of logits (M,) of the pictures at `indices`, each by its own judge."""
        scores = np.empty(len(indices))
        for seat, own in self._seated(indices):
            scores[own] = self.judges[seat].scores(logits[own])
        return scores

    def thresholds(self, rate: float) -> tuple[tuple[float, float], ...]:
        """Each judge's thresholds (real, ai) for a false-positive rate; none where one has none.

        Raises FakescanError for a rate that a card can't promise.
        """
        found = [pick_thresholds(judge.card, rate) for judge in self.judges]
        return tuple(one for one in found if one is not None) if None not in found else ()

    def calls(self, scores: FloatArray, indices: SeatArray, rate: float) -> CallArray | None:
        """As `calibration.calls_of`, each by its own judge's thresholds; None without them."""
        thresholds = self.thresholds(rate)
        if not thresholds:
            return None
        calls = np.zeros(len(indices), dtype=np.int8)
        for seat, own in self._seated(indices):
            calls[own] = calls_of(scores[own], thresholds[seat])
        return calls

    def _seated(self, indices: SeatArray) -> Iterator[tuple[int, BoolArray]]:
        seats = self.seats[indices]
        for seat in np.unique(seats).tolist():
            yield seat, seats == seat

    def judge(
        self,
        pixels: UInt8Array,
        indices: SeatArray,
        degrade: Callable[[UInt8Array], UInt8Array],
        gates: Gates | None,
        name: str,
    ) -> tuple[FloatArray, tuple[Reason | None, ...]] | None:
        """Logits (M,) of the pictures at `indices` after `degrade`, and why `gates` refuse each.

        Refused ones are judged all the same. None where no window fits any more. `name` is what
        the progress bar shows.
        """
        if min(degrade(pixels[indices[0]]).shape[:2]) < self.judges[0].size:
            return None
        logits: list[FloatArray] = []
        refusals: list[Reason | None] = []
        # In batches, since a thousand degraded pictures more would not fit beside the first ones.
        batches = range(0, len(indices), _PICTURES_A_BATCH)
        for start in tqdm(batches, desc=name, unit="batch", disable=None, leave=False):
            batch = indices[start : start + _PICTURES_A_BATCH]
            degraded = np.stack([degrade(pixels[index]) for index in batch])
            logits.append(self.logits(degraded, batch))
            if gates is None:
                refusals += [None] * len(batch)
            else:
                refusals += [check_gates(picture, gates) for picture in degraded]
        return np.concatenate(logits), tuple(refusals)


def seat_one(judge: Judge, count: int) -> Panel:
    """A panel in which `judge` judges all of `count` pictures."""
    return Panel((judge,), np.zeros(count, dtype=np.int64))


def seat_by_fold(judges: tuple[Judge, ...], folds: Folds, origins: Sequence[Origin]) -> Panel:
    """A panel in which judge K judges what fold K holds back, and nothing else.

    Other pictures than a run's may be in other folds. So what a judge's card says that it was
    trained on, it doesn't judge either.
    """
    seats = np.full(len(origins), -1, dtype=np.int64)
    for fold, judge in enumerate(judges):
        sources = judge.card.training["sources"]
        is_new = np.array([not origin.is_of(sources) for origin in origins])
        seats[folds.validation(fold) & is_new] = fold
    return Panel(judges, seats)


def load_judge(
    model: LocatedModel,
    *,
    backend: BackendName = BackendName.AUTO,
    device: str = "auto",
    precision: Precision | None = None,
) -> Judge:
    """The model as a judge. Raises FakescanError as `load_backend` does."""
    loaded = load_backend(model, backend=backend, device=device, precision=precision)
    weights = model if isinstance(model, Path) else None
    return Judge(loaded.logits, loaded.card, weights)


def load_detectors(panel: Panel, device: str = "auto") -> tuple[Detector, ...]:
    """The networks of a panel's judges in torch, float32, for what needs gradients.

    Raises ValueError for judges without weights.
    """
    detectors = []
    for judge in panel.judges:
        if judge.weights is None:
            raise ValueError("only a judge with weights has a network")
        detector = build_detector(load_card(judge.weights), load_tensors(judge.weights))
        detectors.append(detector.to(pick_device(device)))
    return tuple(detectors)


def find_fold_networks(weights: Path) -> list[Path]:
    """The folds' weights of the run that made `weights`: fold-K/fold-K.safetensors beside it.

    Raises FakescanError where one is missing, looks through other windows, or is of a run that has
    not ended, with each fold calibrated by the others.
    """
    paths = [fold_weights(weights.parent, fold) for fold in range(FOLDS)]
    for path in paths:
        if not path.is_file():
            raise FakescanError(
                f"--out-of-fold: {path} is missing; name the weights in the folder of their run,"
                f" beside its folds 0 to {FOLDS - 1}"
            )
    cards = [load_card(path) for path in paths]
    if len({card.input.size for card in cards}) > 1:
        raise FakescanError(f"--out-of-fold: the folds beside {weights} are of several runs")
    if any(
        Split.VALIDATION.value in card.metrics or "sources" not in card.training for card in cards
    ):
        raise FakescanError(
            f"--out-of-fold: the run of the folds beside {weights} has not ended, so that they are"
            " calibrated by their own pictures; train --resume ends it"
        )
    return paths
