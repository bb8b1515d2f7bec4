"""Labelled pictures from a folder or archive, as one uint8 array a split."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from fakescan.images import crop_positions, cut_crops, decode_image
from fakescan.records import DecodedImage, FakescanError, Source, Split
from fakescan.sources import has_image_suffix
from fakescan.training.files import list_names, name_of, read_file, read_files, walk

if TYPE_CHECKING:
    from fakescan.records import UInt8Array


REAL, AI = 0, 1

# The folder names in which the published sets come.
_CLASSES = {
    **dict.fromkeys(("real", "0_real", "authentic"), REAL),
    **dict.fromkeys(("fake", "1_fake", "ai", "generated", "synthetic", "artificial"), AI),
}
# These may as well tell what is to be seen: FAKE/nature is AI, and so is photos/fake.
_SUBJECTS = dict.fromkeys(
    ("nature", "natural", "photo", "photos", "human", "camera", "original"), REAL
)
_SPLITS = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), Split.VALIDATION),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}

_LEFT_OUT = ("unreadable", "smaller_than_side", "also_in_another_split", "in_both_classes")


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures of one split: pixels uint8 (N, S, S, 3), labels uint8 (N,), 1 for AI, and names.

    `digests` are of the files' bytes, where they are known.
    """

    pixels: UInt8Array
    labels: UInt8Array
    names: tuple[str, ...]
    digests: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Pictures:
        """Those at `indices`, in that order."""
        names = tuple(self.names[index] for index in indices)
        digests = tuple(self.digests[index] for index in indices) if self.digests else ()
        return Pictures(self.pixels[indices], self.labels[indices], names, digests)

    @property
    def is_repeated(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which pictures (N,) stand here more than once, byte for byte, as far as is known."""
        counts = Counter(self.digests)
        found = [counts[digest] > 1 for digest in self.digests] or [False] * len(self)
        return np.array(found, dtype=np.bool_)


def digest_pictures(*parts: Pictures | None) -> str:
    """SHA-256 of the pixels, labels and names of all `parts`, as hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{0 if part is None else len(part)} pictures\0".encode())
        if part is not None:
            digest.update(np.ascontiguousarray(part.labels).data)
            digest.update("\0".join(part.names).encode(errors="surrogateescape"))
            digest.update(np.ascontiguousarray(part.pixels).data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """What a folder or archive holds. Sides are those of the files, before any crop."""

    name: str
    splits: dict[Split, Pictures]
    side: int
    minimum_side: int
    maximum_side: int
    left_out: dict[str, int]


def find_data(named: Path | None) -> Path:
    """Where the labelled pictures are: as named, `$FAKESCAN_DATA`, or `cifake` in the cache folder.

    Raises FakescanError, with where to get CIFAKE, if it is nowhere.
    """
    if named is not None:
        if not named.exists():
            raise FakescanError(f"--data {named}: there is no such file or folder")
        return named
    cached = Path(platformdirs.user_cache_dir("fakescan", appauthor=False)) / "cifake"
    if from_environment := os.environ.get("FAKESCAN_DATA"):
        if not Path(from_environment).exists():
            raise FakescanError(f"$FAKESCAN_DATA {from_environment}: there is no such path")
        return Path(from_environment)
    if cached.exists():
        return cached
    raise FakescanError(
        "--data is missing: name a folder or archive of pictures in folders REAL and FAKE; or"
        " fetch CIFAKE (kaggle.com/datasets/birdy654/"
        f"cifake-real-and-ai-generated-synthetic-images) and unpack it into {cached}"
    )


def read_dataset(path: Path, *, side: int | None = None) -> Dataset:
    """Read every picture below `path`, a folder, .zip or .tar.*, whose folders name classes.

    The class is that of the outermost folder below `path` named as one (REAL and FAKE, real and
    ai, …), or else as its subject is (photos, nature, …); the split that of the nearest one named
    so (train, val, test; without one, train), which may be `path` itself. In an archive of a
    single folder that folder stands for `path`. Pictures become `side` pixels square by the crop
    rule's one window, never resized; `side` may be left out where all have the same. Pictures that
    can't be read, are smaller, stand in both classes byte for byte, or are training files whose
    bytes stand in another split too are left out and counted. Raises FakescanError where a class
    is missing.
    """
    rows: list[_Row] = []
    left_out: Counter[tuple[Split, int, str]] = Counter()
    smallest, largest = 1 << 30, 0
    cropped = side is not None
    for name, data in read_files(path, _is_placed):
        placed = _place(name)
        if placed is None:
            continue
        split, label = placed
        image = decode_image(Source(name), data)
        if not isinstance(image, DecodedImage):
            left_out[split, label, "unreadable"] += 1
            continue
        if not cropped:
            side = _common_side(image, side, path)
        assert side is not None
        if min(image.width, image.height) < side:
            left_out[split, label, "smaller_than_side"] += 1
            continue
        smallest = min(smallest, image.width, image.height)
        largest = max(largest, image.width, image.height)
        positions = crop_positions(image.pixels, side, 1)
        crop = cut_crops(image.pixels, side, positions)[0]
        rows.append(_Row(split, label, name, hashlib.sha256(data).digest(), crop))
    by_split = _drop_copies(rows, left_out)
    if not by_split:
        raise FakescanError(_describe_nothing(path, left_out, side))
    for split, found in by_split.items():
        if len({row.label for row in found}) < 2:
            # Of a set without splits whatever was left out tells why.
            asked = (split,) if len(by_split) > 1 else tuple(Split)
            missing, name = (REAL, "REAL") if found[0].label == AI else (AI, "FAKE")
            where = f" in its {split} split" if len(by_split) > 1 else ""
            own = {key: n for key, n in left_out.items() if key[0] in asked and key[1] == missing}
            reasons = f"; left out: {_describe(own, side)}" if own else ""
            raise FakescanError(f"{path}: no pictures of class {name}{where}{reasons}")
    assert side is not None
    # By name, so that a folder and an archive of it give the same splits for the same seed.
    splits = {
        split: _pictures(sorted(found, key=lambda row: row.name))
        for split, found in by_split.items()
    }
    counts = {why: sum(n for (_, _, one), n in left_out.items() if one == why) for why in _LEFT_OUT}
    return Dataset(name_of(path), splits, side, smallest, largest, counts)


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    split: Split
    label: int
    name: str
    digest: bytes
    crop: UInt8Array


def _drop_copies(
    rows: list[_Row], left_out: Counter[tuple[Split, int, str]]
) -> dict[Split, list[_Row]]:
    """What is left by split, where any is, of pictures whose copies say that they don't belong."""
    labels: dict[bytes, set[int]] = {}
    for row in rows:
        labels.setdefault(row.digest, set()).add(row.label)
    elsewhere = {row.digest for row in rows if row.split != Split.TRAIN}
    found: dict[Split, list[_Row]] = {split: [] for split in Split}
    for row in rows:
        if row.split == Split.TRAIN and row.digest in elsewhere:
            left_out[row.split, row.label, "also_in_another_split"] += 1
        elif len(labels[row.digest]) > 1:
            left_out[row.split, row.label, "in_both_classes"] += 1
        else:
            found[row.split].append(row)
    return {split: kept for split, kept in found.items() if kept}


def _describe_nothing(
    path: Path, left_out: Mapping[tuple[Split, int, str], int], side: int | None
) -> str:
    if not left_out:
        return f"{path}: no pictures in folders named REAL and FAKE (or real and ai, …)"
    count = sum(left_out.values())
    return (
        f"{path}: none of the {count:,} pictures in folders of classes can be used:"
        f" {_describe(left_out, side)}"
    )


def _describe(left_out: Mapping[tuple[Split, int, str], int], side: int | None) -> str:
    counts: Counter[str] = Counter()
    for (_, _, why), count in left_out.items():
        counts[f"smaller than {side} px" if why == "smaller_than_side" else why] += count
    return ", ".join(f"{count:,} {why.replace('_', ' ')}" for why, count in counts.items())


def default_split(present: Iterable[Split]) -> Split:
    """What to measure on unless told: the test split where there is one, else validation."""
    return min(present, key=(Split.TEST, Split.VALIDATION, Split.TRAIN).index)


def labelled_files(
    path: Path, split: Split | None
) -> tuple[Split, Iterator[tuple[str, int, Callable[[], bytes]]]]:
    """The split and its files below `path`, as `read_dataset` finds them, at any size, unread.

    Each is its name, its label and what gives its bytes. Without `split`, `default_split` of those
    present. Raises FakescanError where there is none, now or while it goes on.
    """
    places = [_place(name) for name in list_names(path)]
    present = {placed[0] for placed in places if placed is not None}
    if not present:
        raise FakescanError(_describe_nothing(path, {}, None))
    split = split or default_split(present)
    if split not in present:
        raise FakescanError(f"{path}: there is no {split} split")
    return split, _files_of_split(path, split)


def _files_of_split(path: Path, split: Split) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    if path.is_dir():
        for name, file in walk(path):
            placed = _place(name)
            if placed is not None and placed[0] == split:
                yield name, placed[1], partial(read_file, file)
        return
    for name, data in read_files(path, _is_placed):
        placed = _place(name)
        if placed is not None and placed[0] == split:
            yield name, placed[1], partial(bytes, data)


def split_off(pictures: Pictures, fraction: float, *, seed: int) -> tuple[Pictures, Pictures]:
    """Two parts, the second holding `fraction` of each class, at least one picture, by `seed`.

    What stands there more than once is all in the first. Raises FakescanError for a class of a
    single picture, which can't be in both, and for one of nothing but copies.
    """
    is_repeated = pictures.is_repeated
    generator = np.random.default_rng(seed)
    drawn = np.zeros(len(pictures), dtype=bool)
    for label in (REAL, AI):
        indices = np.flatnonzero(pictures.labels == label)
        if len(indices) < 2:
            raise FakescanError("a class has a single picture: none is left for validation")
        count = max(1, round(fraction * len(indices)))
        order = generator.permutation(indices)
        chosen = order[~is_repeated[order]][:count]
        if not len(chosen):
            raise FakescanError("a class has copies only: none is left for validation")
        drawn[chosen] = True
    return pictures.take(np.flatnonzero(~drawn)), pictures.take(np.flatnonzero(drawn))


def _common_side(image: DecodedImage, side: int | None, path: Path) -> int:
    if image.width != image.height or image.width > 256 or side not in {None, image.width}:
        raise FakescanError(f"{path}: the pictures differ in size; name one with --size")
    return image.width


def _pictures(rows: list[_Row]) -> Pictures:
    return Pictures(
        np.stack([row.crop for row in rows]),
        np.array([row.label for row in rows], dtype=np.uint8),
        tuple(row.name for row in rows),
        tuple(row.digest for row in rows),
    )


def source_of(name: str) -> str | None:
    """The folder below a picture's class folder, if any: its generator or collection."""
    found = _find_class(name)
    if found is None:
        return None
    place, _ = found
    below = PurePosixPath(name).parts[place + 1 : -1]
    return below[0] if below else None


def _find_class(name: str) -> tuple[int, int] | None:
    """Where in a path its class folder is, and the label; a name's first folder is no class."""
    folders = [part.lower() for part in PurePosixPath(name).parts[:-1]]
    for labels in (_CLASSES, _SUBJECTS):
        for place, part in enumerate(folders):
            if place and part in labels:
                return place, labels[part]
    return None


def _is_placed(name: str) -> bool:
    return _place(name) is not None


def _place(name: str) -> tuple[Split, int] | None:
    if not has_image_suffix(name):
        return None
    found = _find_class(name)
    folders = [part.lower() for part in PurePosixPath(name).parts[:-1]]
    split = next((_SPLITS[part] for part in reversed(folders) if part in _SPLITS), Split.TRAIN)
    return None if found is None else (split, found[1])
