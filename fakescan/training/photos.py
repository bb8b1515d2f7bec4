"""Crops of photographs and AI pictures with their sources, and how to draw from them fairly.

The folder holds `index.csv` with the columns `path`, `label` (ai, real or confounder),
`generator`, `collection` and `encoding`, and the square crops that it names. Confounders are
neither: scans, posters and the like, which must not be called AI.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fakescan.images import decode_image
from fakescan.records import DecodedImage, FakescanError, Source
from fakescan.training.data import AI, REAL, Pictures
from fakescan.training.folds import Folds, assign_folds

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

    FloatArray = npt.NDArray[np.float64]

INDEX = "index.csv"

Sources = Mapping[str, list[str]]
"""Names of `generators` and of `collections`, as a card keeps them."""


class Kind(StrEnum):
    """What the index may call a picture. A confounder is no photograph, and not AI either."""

    AI = "ai"
    REAL = "real"
    CONFOUNDER = "confounder"


# A source counts by the square root of its pictures: neither does the largest drown the rest, nor
# is a source of three pictures seen a hundred times as often as it deserves.
_SOURCE_POWER = 0.5
_MOST_REPEATS = 20
_QUALITY_BINS = (60, 80, 92)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a crop comes from. `area` is the whole picture's in pixels, `route` its codecs'."""

    kind: Kind
    generator: str
    collection: str
    route: str
    file_size: int
    area: int | None

    @property
    def source(self) -> str:
        """What is counted as one source: the generator, or else the collection."""
        return self.generator or self.collection

    def is_of(self, sources: Sources) -> bool:
        """Whether its generator or its collection is among `sources`."""
        return self.generator in sources["generators"] or self.collection in sources["collections"]


def list_sources(origins: Iterable[Origin]) -> Sources:
    """Every generator and every collection of `origins`."""
    found = list(origins)
    return {
        "generators": sorted({one.generator for one in found} - {""}),
        "collections": sorted({one.collection for one in found} - {""}),
    }


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """Crops with where they come from: uint8 (N, S, S, 3), label 1 for AI and 0 for all else."""

    pictures: Pictures
    origins: tuple[Origin, ...]
    folds: Folds

    def take(self, indices: npt.NDArray[np.int64]) -> Photos:
        """Those at `indices`, in that order."""
        return Photos(
            self.pictures.take(indices),
            tuple(self.origins[index] for index in indices),
            Folds(self.folds.touches[indices]),
        )


def is_photo_folder(path: Path) -> bool:
    """Whether `path` holds photo crops with their sources."""
    return (path / INDEX).is_file()


def read_index(folder: Path) -> list[dict[str, str]]:
    """The rows of the folder's index, each with path and label; what a short row lacks is empty.

    Raises FakescanError where it is none.
    """
    try:
        # Spreadsheets begin theirs with a byte order mark.
        with (folder / INDEX).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval=""))
        for number, row in enumerate(rows, 1):
            if not row["path"] or row["label"] not in set(Kind):
                raise FakescanError(
                    f"{folder / INDEX}: row {number} lacks a path, or a label of {', '.join(Kind)}"
                )
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise FakescanError(f"{folder}: no usable {INDEX} ({error!r})") from error
    return rows


def read_photos(folder: Path) -> Photos:
    """Read every crop that the folder's index names; all must have one size.

    Raises FakescanError for a folder without an index, a missing class, and crops that can't be
    read or differ in size.
    """
    rows = sorted(read_index(folder), key=lambda row: row["path"])
    kinds = [Kind(row["label"]) for row in rows]
    try:
        pairs = [(row["generator"], row["collection"]) for row in rows]
    except KeyError as error:
        raise FakescanError(f"{folder}: no usable {INDEX} ({error!r})") from error
    for kind in (Kind.AI, Kind.REAL):
        if kind not in kinds:
            raise FakescanError(f"{folder}: {INDEX} names no {kind} picture")
    crops: list[UInt8Array] = []
    origins: list[Origin] = []
    for row, kind in zip(rows, kinds, strict=True):
        pixels, origin = _read_crop(folder, row, kind)
        if crops and pixels.shape != crops[0].shape:
            raise FakescanError(f"{folder / row['path']}: its size differs from the others'")
        crops.append(pixels)
        origins.append(origin)
    labels = np.array([AI if kind == Kind.AI else REAL for kind in kinds], dtype=np.uint8)
    pictures = Pictures(np.stack(crops), labels, tuple(row["path"] for row in rows))
    return Photos(pictures, tuple(origins), assign_folds(pairs, kinds))


def _read_crop(folder: Path, row: dict[str, str], kind: Kind) -> tuple[UInt8Array, Origin]:
    path = folder / row["path"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FakescanError(f"{path}: {error.strerror}") from error
    image = decode_image(Source(str(path)), data)
    if not isinstance(image, DecodedImage) or image.width != image.height:
        raise FakescanError(f"{path}: not a square picture that can be read")
    sides = (row.get("source_width") or "", row.get("source_height") or "")
    origin = Origin(
        kind=kind,
        generator=row["generator"],
        collection=row["collection"],
        route=describe_route(data, row.get("encoding") or ""),
        file_size=len(data),
        area=int(sides[0]) * int(sides[1]) if all(side.isdecimal() for side in sides) else None,
    )
    return image.pixels, origin


def describe_route(data: bytes, encoding: str) -> str:
    """The way of a file through codecs: how it came here, its JPEG quality, its chroma."""
    route = "borrowed" if "borrowed" in encoding else "lossless" if "lossless" in encoding else ""
    if not data.startswith(b"\xff\xd8"):
        return f"{'shrunk' if 'shrunk' in encoding else 'whole'} {route}".strip()
    with Image.open(io.BytesIO(data)) as image:
        table = image.quantization[0]  # type: ignore[attr-defined]
        chroma = "4:2:0" if image.layer[0][1:3] == (2, 2) else "4:4:4"  # type: ignore[attr-defined]
    # The mean step tells the quality, whatever program's tables they are.
    mean = sum(table) / len(table)
    quality = 100 - mean * 50 / 57.6 if mean <= 57.6 else 5000 / (mean * 100 / 57.6)
    rank = sum(quality >= edge for edge in _QUALITY_BINS)
    return f"{'borrowed' if route == 'borrowed' else 'original'} q{rank} {chroma}"


def weigh(photos: Photos) -> FloatArray:
    """How often to draw each picture (N,), summing to 1: classes alike in all but content.

    Both classes have half; within a class sources count by the root of their size; and then each
    route through codecs is as frequent among real pictures as among AI, so that nothing but the
    pixels' making tells them apart, as far as no picture comes up too often for it. A route that
    one class lacks is not drawn at all.
    """
    labels = photos.pictures.labels
    sources = [origin.source for origin in photos.origins]
    routes = [origin.route for origin in photos.origins]
    counts = Counter(sources)
    weights = np.array([counts[source] ** (_SOURCE_POWER - 1) for source in sources])
    for label in (REAL, AI):
        weights[labels == label] /= weights[labels == label].sum()
    mass: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for route, label, weight in zip(routes, labels.tolist(), weights.tolist(), strict=True):
        mass[route][label] += weight
    goals = {route: float(np.sqrt(real * ai)) for route, (real, ai) in mass.items()}
    total = sum(goals.values())
    if not total:
        raise FakescanError("real and AI pictures share no route through codecs: nothing to learn")
    for index, (route, label) in enumerate(zip(routes, labels.tolist(), strict=True)):
        weights[index] *= goals[route] / total / mass[route][label]
    return _capped(weights, labels)


def _capped(weights: FloatArray, labels: npt.NDArray[np.uint8]) -> FloatArray:
    capped = weights.copy()
    for label in (REAL, AI):
        own = labels == label
        limit = _MOST_REPEATS * weights[own].sum() / own.sum()
        capped[own] = np.minimum(weights[own], limit)
        capped[own] /= 2 * capped[own].sum()
    return capped
