"""Labelled pictures from a folder or archive, as one uint8 array a split."""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from fakescan.images import crop_positions, cut_crops, decode_image, read_bytes
from fakescan.records import DecodedImage, FakescanError, Source, Split
from fakescan.sources import has_image_suffix

if TYPE_CHECKING:
    from fakescan.records import UInt8Array


REAL, AI = 0, 1

# The folder names in which the published sets come.
_LABELS = {
    **dict.fromkeys(("real", "0_real", "nature", "natural", "photo", "photos", "authentic"), REAL),
    **dict.fromkeys(("human", "camera", "original"), REAL),
    **dict.fromkeys(("fake", "1_fake", "ai", "generated", "synthetic", "artificial"), AI),
}
_SPLITS = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), Split.VALIDATION),
    **dict.fromkeys(("test", "testing"), Split.TEST),
}


# OSError is what gzip and bz2 raise on damage, RuntimeError zipfile on encryption.
_ARCHIVE_ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError),
)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures of one split: pixels uint8 (N, S, S, 3), labels uint8 (N,), 1 for AI, and names."""

    pixels: UInt8Array
    labels: UInt8Array
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Pictures:
        """Those at `indices`, in that order."""
        names = tuple(self.names[index] for index in indices)
        return Pictures(self.pixels[indices], self.labels[indices], names)


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

    Class and split are the nearest folders of a usual name (REAL and FAKE, real and ai, …; train,
    val, test; without one, train). Pictures become `side` pixels square by the crop rule's one
    window, never resized; `side` may be left out where all have the same. Pictures that
    can't be read, are smaller, or are training files whose bytes stand in another split too are
    left out and counted. Raises FakescanError where a class is missing.
    """
    rows: dict[Split, list[tuple[str, int, bytes, UInt8Array]]] = {split: [] for split in Split}
    left_out = dict.fromkeys(("unreadable", "smaller_than_side", "also_in_another_split"), 0)
    smallest, largest = 1 << 30, 0
    cropped = side is not None
    for name, data in _files(path):
        placed = _place(name)
        if placed is None:
            continue
        split, label = placed
        image = decode_image(Source(name), data)
        if not isinstance(image, DecodedImage):
            left_out["unreadable"] += 1
            continue
        if not cropped:
            side = _common_side(image, side, path)
        assert side is not None
        if min(image.width, image.height) < side:
            left_out["smaller_than_side"] += 1
            continue
        smallest = min(smallest, image.width, image.height)
        largest = max(largest, image.width, image.height)
        positions = crop_positions(image.pixels, side, 1)
        crop = cut_crops(image.pixels, side, positions)[0]
        rows[split].append((name, label, hashlib.sha256(data).digest(), crop))
    elsewhere = {
        digest for split in Split if split != Split.TRAIN for _, _, digest, _ in rows[split]
    }
    kept = [row for row in rows[Split.TRAIN] if row[2] not in elsewhere]
    left_out["also_in_another_split"] = len(rows[Split.TRAIN]) - len(kept)
    rows[Split.TRAIN] = kept
    # By name, so that a folder and an archive of it give the same splits for the same seed.
    splits = {
        split: _pictures(sorted(found, key=lambda row: row[0]))
        for split, found in rows.items()
        if found
    }
    if not splits:
        raise FakescanError(
            f"{path}: no pictures in folders named REAL and FAKE (or real and ai, …)"
        )
    for split, pictures in splits.items():
        if len(set(pictures.labels.tolist())) < 2:
            missing = "REAL" if pictures.labels[0] == AI else "FAKE"
            where = f" in its {split} split" if len(splits) > 1 else ""
            raise FakescanError(f"{path}: no pictures of class {missing}{where}")
    assert side is not None
    return Dataset(_name(path), splits, side, smallest, largest, left_out)


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
    places = [_place(name) for name in _names(path)]
    present = {placed[0] for placed in places if placed is not None}
    if not present:
        raise FakescanError(
            f"{path}: no pictures in folders named REAL and FAKE (or real and ai, …)"
        )
    split = split or default_split(present)
    if split not in present:
        raise FakescanError(f"{path}: there is no {split} split")
    return split, _files_of_split(path, split)


def _files_of_split(path: Path, split: Split) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    if path.is_dir():
        for name in _names(path):
            placed = _place(name)
            if placed is not None and placed[0] == split:
                yield name, placed[1], partial(_read_file, path.parent / name)
        return
    for name, data in _files(path):
        placed = _place(name)
        if placed is not None and placed[0] == split:
            yield name, placed[1], partial(bytes, data)


def _names(path: Path) -> Iterator[str]:
    try:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (
                    Path(folder, name).relative_to(path.parent).as_posix() for name in sorted(names)
                )
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from archive.namelist()
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                yield from tar.getnames()
    except _ARCHIVE_ERRORS as error:
        raise FakescanError(f"{path}: the archive is damaged or can't be read ({error})") from error


def _read_file(path: Path) -> bytes:
    data = read_bytes(Source(str(path)))
    return data if isinstance(data, bytes) else b""


def split_off(pictures: Pictures, fraction: float, *, seed: int) -> tuple[Pictures, Pictures]:
    """Two parts, the second holding `fraction` of each class, at least one picture, by `seed`.

    Raises FakescanError for a class of a single picture, which can't be in both.
    """
    generator = np.random.default_rng(seed)
    drawn = np.zeros(len(pictures), dtype=bool)
    for label in (REAL, AI):
        indices = np.flatnonzero(pictures.labels == label)
        if len(indices) < 2:
            raise FakescanError("a class has a single picture: none is left for validation")
        count = max(1, round(fraction * len(indices)))
        drawn[generator.permutation(indices)[:count]] = True
    return pictures.take(np.flatnonzero(~drawn)), pictures.take(np.flatnonzero(drawn))


def _common_side(image: DecodedImage, side: int | None, path: Path) -> int:
    if image.width != image.height or image.width > 256 or side not in {None, image.width}:
        raise FakescanError(f"{path}: the pictures differ in size; name one with --size")
    return image.width


def _pictures(rows: list[tuple[str, int, bytes, UInt8Array]]) -> Pictures:
    names, labels, _, crops = zip(*rows, strict=True)
    return Pictures(np.stack(crops), np.array(labels, dtype=np.uint8), names)


def source_of(name: str) -> str | None:
    """The folder below a picture's class folder, if any: its generator or collection."""
    *folders, _ = PurePosixPath(name).parts
    places = [index for index, part in enumerate(folders) if part.lower() in _LABELS]
    below = folders[places[-1] + 1 :] if places else []
    return below[0] if below else None


def _place(name: str) -> tuple[Split, int] | None:
    if not has_image_suffix(name):
        return None
    folders = [part.lower() for part in PurePosixPath(name).parts[:-1]]
    label = next((_LABELS[part] for part in reversed(folders) if part in _LABELS), None)
    split = next((_SPLITS[part] for part in reversed(folders) if part in _SPLITS), Split.TRAIN)
    return None if label is None else (split, label)


def _name(path: Path) -> str:
    return path.name.split(".")[0] or path.resolve().name


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        if path.is_dir():
            yield from _files_of_folder(path)
        elif zipfile.is_zipfile(path):
            yield from _files_of_zip(path)
        elif tarfile.is_tarfile(path):
            yield from _files_of_tar(path)
        else:
            raise FakescanError(f"{path}: neither a folder nor a .zip or .tar archive")
    except _ARCHIVE_ERRORS as error:
        raise FakescanError(f"{path}: the archive is damaged or can't be read ({error})") from error


def _files_of_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            key = file.relative_to(path.parent).as_posix()
            if _place(key) is not None:
                yield key, _read_file(file)


def _files_of_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if _place(name) is not None:
                yield name, archive.read(name)


def _files_of_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if _place(member.name) is not None else None
            if file is not None:
                yield member.name, file.read()
        # To tarfile a damaged header is an end like any other; and checksums come last.
        stream = archive.fileobj
        assert stream is not None
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("a header is none")
        while stream.read(1 << 20):
            pass
