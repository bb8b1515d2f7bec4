"""Crops of photographs and AI pictures with their sources, and how to draw from them fairly.

The folder holds `index.csv` with the columns `path`, `label` (ai, real or confounder),
`generator`, `collection` and `encoding`, and the square crops that it names. Confounders are
neither: scans, posters and the like, which must not be called AI.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fakescan.images import decode_image
from fakescan.records import DecodedImage, FakescanError, Source
from fakescan.training.data import AI, REAL, Pictures

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

    FloatArray = npt.NDArray[np.float64]

INDEX = "index.csv"
FOLDS = 5

# A source counts by the square root of its pictures: neither does the largest drown the rest, nor
# is a source of three pictures seen a hundred times as often as it deserves.
_SOURCE_POWER = 0.5
_MOST_REPEATS = 20
_QUALITY_BINS = (60, 80, 92)


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """Crops with where they come from.

    `pictures` are uint8 (N, S, S, 3) with label 1 for AI. `components` (N,) numbers the connected
    components of (generator, collection): pictures of two components share neither. `cells` (N,)
    names each file's route through codecs, by which classes could be told apart.
    """

    pictures: Pictures
    components: npt.NDArray[np.int64]
    sources: tuple[str, ...]
    cells: tuple[str, ...]

    def take(self, indices: npt.NDArray[np.int64]) -> Photos:
        """Those at `indices`, in that order."""
        return Photos(
            self.pictures.take(indices),
            self.components[indices],
            tuple(self.sources[index] for index in indices),
            tuple(self.cells[index] for index in indices),
        )


def read_photos(folder: Path) -> Photos:
    """Read every crop that the folder's index names; all must have one size.

    Raises FakescanError for a folder without an index, a missing class, a class of one source,
    and crops that can't be read or differ in size.
    """
    try:
        with (folder / INDEX).open(newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
        labels = [AI if row["label"] == "ai" else REAL for row in rows]
        sources = [row["generator"] or row["collection"] for row in rows]
        pairs = [(row["generator"], row["collection"]) for row in rows]
    except (OSError, KeyError, csv.Error) as error:
        raise FakescanError(f"{folder}: no usable {INDEX} ({error!r})") from error
    for label, name in ((AI, "ai"), (REAL, "real")):
        found = {source for source, own in zip(sources, labels, strict=True) if own == label}
        if len(found) < 2:
            raise FakescanError(
                f"{folder}: class {name} has {len(found)} sources; two are needed, since"
                " validation is by source"
            )
    crops: list[UInt8Array] = []
    cells: list[str] = []
    for row in rows:
        pixels, cell = _read_crop(folder / row["path"], row.get("encoding") or "")
        if crops and pixels.shape != crops[0].shape:
            raise FakescanError(f"{folder / row['path']}: its size differs from the others'")
        crops.append(pixels)
        cells.append(cell)
    pictures = Pictures(
        np.stack(crops), np.array(labels, dtype=np.uint8), tuple(row["path"] for row in rows)
    )
    return Photos(pictures, find_components(pairs), tuple(sources), tuple(cells))


def _read_crop(path: Path, encoding: str) -> tuple[UInt8Array, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FakescanError(f"{path}: {error.strerror}") from error
    image = decode_image(Source(str(path)), data)
    if not isinstance(image, DecodedImage) or image.width != image.height:
        raise FakescanError(f"{path}: not a square picture that can be read")
    return image.pixels, describe_route(data, encoding)


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


def find_components(pairs: list[tuple[str, str]]) -> npt.NDArray[np.int64]:
    """Number the connected components of (generator, collection) pairs; either may be empty."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(node, node)
        while parent[node] != node:
            node = parent[node]
        return node

    for generator, collection in pairs:
        nodes = [("generator", generator)] * bool(generator)
        nodes += [("collection", collection)] * bool(collection)
        for node in nodes[1:]:
            parent[root(node)] = root(nodes[0])
    numbers: dict[tuple[str, str], int] = {}
    components = [
        root(("generator", generator) if generator else ("collection", collection))
        for generator, collection in pairs
    ]
    return np.array([numbers.setdefault(one, len(numbers)) for one in components])


def assign_folds(photos: Photos, *, seed: int, folds: int = FOLDS) -> npt.NDArray[np.int64]:
    """A fold (N,) of 0 to `folds` - 1 for each picture: whole components, classes spread evenly.

    The largest components go first, each to the fold with the least of its class.
    """
    labels = photos.pictures.labels
    sizes = Counter(photos.components.tolist())
    order = np.random.default_rng(seed).permutation(len(sizes))
    filled = np.zeros((2, folds), dtype=np.int64)
    chosen: dict[int, int] = {}
    for component in sorted(sizes, key=lambda one: (-sizes[one], order[one])):
        own = labels[photos.components == component]
        label = int(own.mean() >= 0.5)
        fold = int(filled[label].argmin())
        chosen[component] = fold
        filled[label, fold] += len(own)
    return np.array([chosen[component] for component in photos.components.tolist()])


def weigh(photos: Photos) -> FloatArray:
    """How often to draw each picture (N,), summing to 1: classes alike in all but content.

    Both classes have half; within a class sources count by the root of their size; and then each
    route through codecs is as frequent among real pictures as among AI, so that nothing but the
    pixels' making tells them apart. A route that one class lacks is not drawn at all.
    """
    labels = photos.pictures.labels
    counts = Counter(photos.sources)
    weights = np.array([counts[source] ** (_SOURCE_POWER - 1) for source in photos.sources])
    for label in (REAL, AI):
        weights[labels == label] /= weights[labels == label].sum()
    mass: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for cell, label, weight in zip(photos.cells, labels.tolist(), weights.tolist(), strict=True):
        mass[cell][label] += weight
    goals = {cell: float(np.sqrt(real * ai)) for cell, (real, ai) in mass.items()}
    total = sum(goals.values())
    if not total:
        raise FakescanError("real and AI pictures share no route through codecs: nothing to learn")
    for index, (cell, label) in enumerate(zip(photos.cells, labels.tolist(), strict=True)):
        weights[index] *= goals[cell] / total / mass[cell][label]
    return _capped(weights, labels)


def _capped(weights: FloatArray, labels: npt.NDArray[np.uint8]) -> FloatArray:
    capped = weights.copy()
    for label in (REAL, AI):
        own = labels == label
        limit = _MOST_REPEATS * weights[own].sum() / own.sum()
        capped[own] = np.minimum(weights[own], limit)
        capped[own] /= 2 * capped[own].sum()
    return capped
