"""What a run trains on and is measured on, made from the data that it was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from fakescan.gates import PHOTO_GATES
from fakescan.records import FakescanError, Split
from fakescan.training.batches import (
    Augmentation,
    Batches,
    DegradedWindows,
    ShuffledPictures,
)
from fakescan.training.boosting import fit_trees
from fakescan.training.data import (
    Dataset,
    Pictures,
    digest_pictures,
    read_dataset,
    split_off,
)
from fakescan.training.degradation import DegradationOptions, side_for
from fakescan.training.held_out import HeldOut
from fakescan.training.initialisation import IMAGENET_MEAN, IMAGENET_STD
from fakescan.training.options import TrainingOptions
from fakescan.training.photos import Kind, Photos, list_sources
from fakescan.weights import Domain, Gates

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.networks import Network

Triple = tuple[float, float, float]

PHOTO_WINDOW = 128
"""So that a crop of 256 pixels, halved, still fills one."""

IGNORED = frozenset(
    {"shift", "flip", "rotation", "zoom", "degrade", "mirror", "validation_fraction"}
)
"""Options of training that photographs make nothing of: they have a degradation of their own."""

_LEAST_DEVIATION = 1e-3
_PIXELS_SAMPLED = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Batches to train on, pictures to validate and to report on, and what the card says of them.

    Without `validation` there is `held_out`: by its name, what to calibrate by instead. `prepare`
    fits what of a new network isn't trained step by step. `share` is the part of the options'
    `max_minutes` that is for this network. `record` is for the card's training record, which
    leaves out the options that this material `ignores`. `digest` is of the pictures to train and
    to validate on.

    `mean` and `std` are what pixels in [0, 1] are normalised by; `mirror`, `enlarge` and `windows`
    are for the detector: see `Input`.
    """

    name: str
    batches: Batches
    validation: Pictures | None
    test: Pictures | None
    mean: Triple
    std: Triple
    mirror: bool
    domain: Domain
    limits: tuple[str, ...]
    left_out: Mapping[str, int]
    enlarge: int | None = None
    windows: int | None = None
    gates: Gates | None = None
    held_out: Mapping[str, HeldOut] = field(default_factory=dict)
    prepare: Callable[[Network], None] = lambda network: None
    share: float = 1.0
    record: Mapping[str, object] = field(default_factory=dict)
    ignores: frozenset[str] = frozenset()
    digest: str = ""


def read_material(path: Path, options: TrainingOptions, device: torch.device) -> Material:
    """What `options` ask to train on from the data at `path`. Raises FakescanError for bad data."""
    return make_material(path, read_dataset(path, side=options.size), options, device)


def make_material(
    path: Path, dataset: Dataset, options: TrainingOptions, device: torch.device
) -> Material:
    """As `read_material`, of a `dataset` that was read from `path` before."""
    if Split.TRAIN not in dataset.splits:
        raise FakescanError(f"{path}: there is no train split")
    training, validation = _split(dataset, options)
    statistics = _channel_statistics(training)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if options.pretrained else statistics
    augmentation = Augmentation(
        options.shift, options.flip, options.rotation, options.zoom, options.degrade
    )
    return Material(
        name=dataset.name,
        batches=ShuffledPictures(training, options.batch_size, augmentation, options.seed, device),
        validation=validation,
        test=dataset.splits.get(Split.TEST),
        mean=mean,
        std=std,
        mirror=options.mirror,
        domain=_domain(dataset),
        limits=(
            f"Trained on {dataset.name} alone: other generators and other pictures are outside"
            " what it has seen.",
            "Its score is a probability at even prior odds, for pictures like its training's.",
        ),
        left_out=dataset.left_out,
        enlarge=options.enlarge,
        # Validation sees one window of a larger picture: the mean of several is distributed
        # otherwise, and thresholds would not hold for it.
        windows=1 if dataset.maximum_side > dataset.side else None,
        digest=digest_pictures(training, validation),
    )


def _split(dataset: Dataset, options: TrainingOptions) -> tuple[Pictures, Pictures]:
    training = dataset.splits[Split.TRAIN]
    if Split.VALIDATION in dataset.splits:
        return training, dataset.splits[Split.VALIDATION]
    return split_off(training, options.validation_fraction, seed=options.seed)


def photo_material(
    photos: Photos,
    options: TrainingOptions,
    device: torch.device,
    held_out: Mapping[str, HeldOut] | None = None,
) -> Material:
    """Photographs to train on: those that `options.fold` doesn't hold back, or all.

    Confounders train as what they are not, AI, and validate nothing.
    """
    if options.enlarge is not None:
        raise FakescanError("--enlarge: the photo network judges windows as they are")
    if options.best_epoch:
        raise FakescanError(
            "--best-epoch: what a fold holds back measures its network, and must choose nothing"
        )
    window = options.size or PHOTO_WINDOW
    side = photos.pictures.pixels.shape[1]
    if side_for(window) > side:
        raise FakescanError(
            f"--size: windows of {window} px are drawn from crops of {side_for(window)} px and"
            f" more, and these have {side}"
        )
    training, validation = part(photos, options.fold)
    batches = DegradedWindows(
        training, window, options.batch_size, DegradationOptions(), options.seed, device
    )
    return Material(
        name="photos",
        batches=batches,
        validation=validation,
        test=None,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),  # the network counts in steps of stored values
        mirror=False,  # another window of the picture says more, at the same cost
        domain=Domain(window, None, "photographs and pictures from the web, at native resolution"),
        limits=(
            _describe_sources(training),
            "Its figures are of sources that the network judging them had not seen. New generators"
            " may look real to it all the same.",
            "Drawings, posters and documents are outside what it was trained to judge; where it"
            " does not see that they are such, its score means nothing.",
            "Local edits of a real photograph are not found.",
        ),
        left_out={"held_back": len(photos.pictures) - len(training.pictures)},
        gates=PHOTO_GATES,
        held_out=held_out or {},
        prepare=partial(fit_trees, batches=batches, seed=options.seed),
        record={"sources": list_sources(training.origins)},
        ignores=IGNORED,
        digest=digest_pictures(training.pictures, validation),
    )


def part(photos: Photos, fold: int | None) -> tuple[Photos, Pictures | None]:
    """What trains while `fold` is held back, and what it validates on; without a fold, all."""
    if fold is None:
        return photos, None
    training = photos.take(np.flatnonzero(photos.folds.training(fold)))
    return training, photos.take(held_back(photos, fold)).pictures


def _describe_sources(photos: Photos) -> str:
    count = {kind: len({one.source for one in photos.origins if one.kind == kind}) for kind in Kind}
    return (
        f"Trained on {len(photos.origins):,} crops of pictures by {count[Kind.AI]} generators and"
        f" from {count[Kind.REAL]} collections of photographs."
    )


def held_back(photos: Photos, fold: int) -> npt.NDArray[np.int64]:
    """The places of the photographs and AI pictures that `fold` holds back, confounders aside."""
    chosen = photos.folds.validation(fold)
    chosen &= np.array([origin.kind != Kind.CONFOUNDER for origin in photos.origins])
    return np.flatnonzero(chosen)


def _domain(dataset: Dataset) -> Domain:
    smallest, largest = dataset.minimum_side, dataset.maximum_side
    sides = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
    return Domain(smallest, largest, f"pictures like {dataset.name}'s, {sides} px a side")


def _channel_statistics(pictures: Pictures) -> tuple[Triple, Triple]:
    step = max(1, pictures.pixels[..., 0].size // _PIXELS_SAMPLED)
    sample = pictures.pixels[::step].reshape(-1, 3) / 255.0
    red, green, blue = (round(float(value), 4) for value in sample.mean(axis=0))
    deviations = sample.std(axis=0)
    first, second, third = (max(_LEAST_DEVIATION, round(float(one), 4)) for one in deviations)
    return (red, green, blue), (first, second, third)
