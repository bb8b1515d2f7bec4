"""Labelled pictures at full size, each on the path of a scan: read, prepared, measured."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fakescan.backends import Backend
from fakescan.images import decode_image
from fakescan.inference import group, measure_batch
from fakescan.lookahead import read_ahead
from fakescan.preparation import Prepared, prepare
from fakescan.records import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_CROPS,
    FakescanError,
    Measurement,
    Source,
    Split,
    Status,
)
from fakescan.training.data import AI, REAL, labelled_files
from fakescan.training.evaluate import LabelledLogits
from fakescan.training.photos import Kind, is_photo_folder, read_index
from fakescan.weights import ModelCard

if TYPE_CHECKING:
    import numpy.typing as npt

LabelledFile = tuple[str, int, Callable[[], bytes]]
"""A picture's name, its label, and what gives its bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class FullSize:
    """Logits of pictures as a scan would find them; sides (N, 2) in pixels, the shorter first.

    `left_out` counts by why: unreadable, outside the model's domain or gates, there twice.
    `confounders` of an index.csv count as real: they must not be called AI either.
    """

    found: LabelledLogits
    sides: npt.NDArray[np.int64]
    left_out: dict[str, int]
    confounders: int = 0


def measure_labelled(
    path: Path,
    detector: Backend,
    card: ModelCard,
    *,
    split: Split | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> FullSize:
    """What `detector` says of every labelled picture at `path` that `card` admits, at its own size.

    `path` is a folder or archive whose folders name classes, or a folder with an index.csv of
    photo crops. Raises FakescanError for unusable data, and where a class has no picture left.
    """
    chosen, files, confounders = _find(path, split)
    kept: list[tuple[str, int, float, int, int]] = []
    left_out: Counter[str] = Counter()
    seen: dict[str | None, tuple[str, int]] = {}
    for name, label, measurement in _measure(files, detector, card, batch_size):
        if measurement.status != Status.OK:
            left_out["unreadable"] += 1
        elif measurement.sha256 in seen:
            _refuse_contradiction(path, seen[measurement.sha256], (name, label))
            left_out["twice"] += 1
        elif not measurement.outputs:
            left_out["outside_domain"] += 1
        else:
            shorter, longer = sorted((measurement.width or 0, measurement.height or 0))
            logit = measurement.outputs[0].logit
            if not math.isfinite(logit):
                raise FakescanError(
                    f"{path}: model {card.name} gives {logit} for {name}: there are no figures of"
                    " a model that gives no number"
                )
            kept.append((name, label, logit, shorter, longer))
        seen.setdefault(measurement.sha256, (name, label))
    for label, kind in ((REAL, "real"), (AI, "AI")):
        if not any(row[1] == label for row in kept):
            raise FakescanError(f"{path}: no {kind} picture there that the model judges")
    names, labels, logits, *sides = zip(*kept, strict=True)
    found = LabelledLogits(
        path.resolve().name, chosen, np.array(logits), np.array(labels, np.uint8), names
    )
    return FullSize(found, np.array(sides).T, dict(left_out), len(confounders.intersection(names)))


def _refuse_contradiction(path: Path, first: tuple[str, int], second: tuple[str, int]) -> None:
    if first[1] != second[1]:
        ai, real = sorted((first, second), key=lambda one: -one[1])
        raise FakescanError(
            f"{path}: {ai[0]} is AI and {real[0]} is real, and they are one picture"
        )


def _find(
    path: Path, split: Split | None
) -> tuple[Split | None, Iterator[LabelledFile], frozenset[str]]:
    if not is_photo_folder(path):
        return *labelled_files(path, split), frozenset()
    if split is not None:
        raise FakescanError(f"--split: {path} holds photos by source, which have no splits")
    rows = [(row["path"], row["label"]) for row in read_index(path)]
    files = [
        (name, AI if label == Kind.AI else REAL, partial(_read, path / name))
        for name, label in rows
    ]
    return None, iter(files), frozenset(name for name, label in rows if label == Kind.CONFOUNDER)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # counted among the unreadable


def _measure(
    files: Iterator[LabelledFile], detector: Backend, card: ModelCard, batch_size: int
) -> Iterator[tuple[str, int, Measurement]]:
    named: list[tuple[str, int]] = []

    def note() -> Iterator[LabelledFile]:
        for file in files:
            named.append(file[:2])
            yield file

    workers = min(16, os.cpu_count() or 1)
    task = partial(_prepare, card)
    prepared = read_ahead(note(), task, workers=workers, ahead=workers + 2 * batch_size)
    done = 0
    with tqdm(unit=" pictures", disable=None, leave=False) as bar:
        for batch in group(prepared, batch_size):
            for measurement in measure_batch(batch, [detector], batch_size):
                name, label = named[done]
                yield name, label, measurement
                done += 1
            bar.update(len(batch))


def _prepare(card: ModelCard, file: LabelledFile, reserve: Callable[[int], None]) -> Prepared:
    name, _, read = file
    image = decode_image(Source(name), read(), reserve=reserve)
    return prepare(image, [card], crops=DEFAULT_CROPS)
