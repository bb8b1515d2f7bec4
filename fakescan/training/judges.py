"""Who judges which picture: one model all of them, or each fold's what it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from fakescan.backends import BackendName, Precision, load_backend
from fakescan.gates import check_gates
from fakescan.hub import LocatedModel, PublishedModel
from fakescan.model import Detector, build_detector, pick_device
from fakescan.processing import process
from fakescan.records import FakescanError
from fakescan.training.evaluate import pooled_logits
from fakescan.training.folds import FOLDS, fold_weights
from fakescan.weights import load_card, load_tensors

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import Reason, UInt8Array
    from fakescan.training.folds import Folds
    from fakescan.weights import Gates

    FloatArray = npt.NDArray[np.float64]
    SeatArray = npt.NDArray[np.int64]

_PICTURES_A_BATCH = 128
_WHOLE = 32
"""Pictures a batch for published models, which take up to a megabyte each as prepared."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A model that looks through windows of `size` px; `weights` is its file, where it has one.

    A published model has a `processor` instead, which takes pictures of any size.
    """

    logits_of: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
    size: int
    weights: Path | None = None
    processor: Mapping[str, Any] | None = None

    def logits(self, pixels: UInt8Array) -> FloatArray:
        """Logits (N,) of pictures (N, H, W, 3), by the scan's crop rule and pooling."""
        if self.processor is not None:
            return np.concatenate(
                [self._whole(pixels[at : at + _WHOLE]) for at in range(0, len(pixels), _WHOLE)]
            )
        return pooled_logits(self.logits_of, pixels, self.size)

    def _whole(self, pixels: UInt8Array) -> FloatArray:
        assert self.processor is not None
        prepared = [process(picture, self.processor) for picture in pixels]
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
        seats = self.seats[indices]
        for seat in np.unique(seats):
            own = seats == seat
            logits[own] = self.judges[seat].logits(pixels[own])
        return logits

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


def seat_by_fold(judges: tuple[Judge, ...], folds: Folds) -> Panel:
    """A panel in which judge K judges what fold K holds back, and nothing else."""
    seats = np.full(len(folds.touches), -1, dtype=np.int64)
    for fold in range(len(judges)):
        seats[folds.validation(fold)] = fold
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
    given = loaded.card.input
    if isinstance(model, PublishedModel):
        return Judge(loaded.logits, 1, processor=given.processor)
    return Judge(loaded.logits, given.size, model)


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

    Raises FakescanError where one is missing, or looks through other windows.
    """
    paths = [fold_weights(weights.parent, fold) for fold in range(FOLDS)]
    for path in paths:
        if not path.is_file():
            raise FakescanError(
                f"--out-of-fold: {path} is missing; name the weights in the folder of their run,"
                f" beside its folds 0 to {FOLDS - 1}"
            )
    if len({load_card(path).input.size for path in paths}) > 1:
        raise FakescanError(f"--out-of-fold: the folds beside {weights} are of several runs")
    return paths
