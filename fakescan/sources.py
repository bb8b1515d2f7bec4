"""Where files come from: folders, arguments and standard input."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

from fakescan.records import FakescanError, Source, Status

HEAD_BYTES = 64
"""How much of a file `sniff_media_type` wants to see."""

# Suffixes of formats that share TIFF's first bytes, so that only the name tells them apart.
TIFF_RAW_SUFFIXES = frozenset((".dng", ".cr2", ".nef", ".arw", ".pef", ".srw"))

IMAGE_SUFFIXES = TIFF_RAW_SUFFIXES.union(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
    (".tif", ".tiff", ".avif", ".avifs", ".heic", ".heif", ".heics", ".heifs", ".hif"),
    (".cr3", ".raf", ".rw2", ".orf"),
)

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"FUJIFILMCCD-RAW", "image/x-fuji-raf"),
    (b"IIU\x00", "image/x-panasonic-rw2"),
    (b"IIRO", "image/x-olympus-orf"),
    (b"IIRS", "image/x-olympus-orf"),
    (b"MMOR", "image/x-olympus-orf"),
)

_BRANDS = {  # ISO/IEC 23008-12 and the AV1 image format: major and compatible brands
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"crx ": "image/x-canon-cr3",
}


def sniff_media_type(data: bytes) -> str | None:
    """Media type by the first `HEAD_BYTES` bytes of a file, of which `data` may have more.

    None for what is no image.
    """
    head = data[:HEAD_BYTES]
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            if media_type == "image/bmp" and not _looks_like_bmp(head):
                return None
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        # "mif1" only says that it is some HEIF; a compatible brand may say which.
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))]
        types = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return next((found for found in types if found != "image/heif"), next(iter(types), None))
    return None


def _looks_like_bmp(head: bytes) -> bool:
    # "BM" opens many a text; a bitmap's information header has one of few sizes.
    return int.from_bytes(head[14:18], "little") in {12, 40, 52, 56, 64, 108, 124}


def has_image_suffix(path: str) -> bool:
    """Whether the name claims to be an image."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def decoding_hint(path: str) -> str:
    """What of a name changes how the same bytes are read: a RAW suffix, or that of an image."""
    suffix = os.path.splitext(path)[1].lower()
    return suffix if suffix in TIFF_RAW_SUFFIXES else "image" * has_image_suffix(path)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 1) of `count` parts, which together are the whole and share nothing.

    A file's part follows from its path as given and found, so the same arguments on every machine
    make one division.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard that `I/N` names. Raises FakescanError for other text."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise FakescanError(f"--shard {text}: write I/N, from 1/N to N/N, such as 1/4.")
        return cls(int(found[1]), int(found[2]))

    def holds(self, path: str) -> bool:
        """Whether the file at `path` belongs to this part."""
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1


class _RealPaths:
    """A set of paths as 16-byte digests, of about 20 bytes each where Python's own takes 90."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(4096)]

    def add(self, path: str) -> bool:
        """Add a path; whether it was new."""
        digest = hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
        bucket = self._buckets[int.from_bytes(digest[:2], "big") % len(self._buckets)]
        place = bucket.find(digest)
        while place >= 0 and place % len(digest):  # the end of one and the beginning of the next
            place = bucket.find(digest, place + 1)
        if place < 0:
            bucket += digest
        return place < 0


# What a folder's entry is. Its name and one of these, with NUL between, are all that is kept of it
# while its folder is walked: a folder may have a million. NUL sorts below all that a name holds.
_FILE, _FOLDER, _LINK, _LINKED_FOLDER = b"\0f", b"\0d", b"\0l", b"\0e"


class SourceFinder:
    """The files that a scan of `paths` looks at: iterate it once.

    Order: arguments as given, then depth first, names by their bytes. A file reached twice counts
    once. An image by its first bytes, or any file with an image suffix, is a source; other files
    are only counted, in `other_files`. What `paths` names itself is always a source. Hidden
    entries are skipped unless `hidden`; links to files are read, links to folders entered only
    with `follow_links`; pipes and devices are never opened. Files and folders in `excluded`, as
    real paths, are passed over: the reports that this very scan writes. Of all that, `shard` takes
    its part.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        hidden: bool = False,
        follow_links: bool = False,
        excluded: Iterable[str] = (),
        shard: Shard | None = None,
    ) -> None:
        self.other_files = 0
        self._paths = paths
        self._hidden = hidden
        self._follow_links = follow_links
        self._excluded = frozenset(excluded)
        self._shard = shard
        self._seen = _RealPaths()

    def __iter__(self) -> Iterator[Source]:
        # A file reached twice counts once in the whole, so the whole is walked for every part.
        return (source for source in self._find() if self._is_ours(source.path))

    def _find(self) -> Iterator[Source]:
        for path in self._paths:
            try:
                status = os.stat(path)
            except (OSError, ValueError) as error:
                yield Source(path, problem=problem_of(error))
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._walk(path)
            elif self._seen.add(os.path.realpath(path)):
                yield _source(path, status)

    def _is_ours(self, path: str) -> bool:
        return self._shard is None or self._shard.holds(path)

    def _walk(self, top: str) -> Iterator[Source]:
        # An explicit stack: folders may nest deeper than Python recurses.
        stack: list[tuple[str, str, list[bytes]]] = []
        yield from self._enter(top, os.path.realpath(top), stack)
        while stack:
            folder, real_folder, entries = stack[-1]
            if not entries:
                stack.pop()
                continue
            entry = entries.pop()
            name, kind = os.fsdecode(entry[:-2]), entry[-2:]
            path, real = os.path.join(folder, name), os.path.join(real_folder, name)
            if kind in {_LINK, _LINKED_FOLDER}:
                real = os.path.realpath(path)
            if kind in {_FOLDER, _LINKED_FOLDER}:
                yield from self._enter(path, real, stack)
            else:
                yield from self._file(path, real)

    def _enter(
        self, folder: str, real: str, stack: list[tuple[str, str, list[bytes]]]
    ) -> Iterator[Source]:
        if real in self._excluded or not self._seen.add(real):
            return
        try:
            with os.scandir(folder) as entries:
                # Last first, so that each can be let go once it has had its turn.
                ordered = sorted(
                    (
                        os.fsencode(entry.name) + kind
                        for entry in entries
                        if (self._hidden or not entry.name.startswith("."))
                        and ((kind := _kind_of(entry)) != _LINKED_FOLDER or self._follow_links)
                    ),
                    reverse=True,
                )
        except OSError as error:
            # A folder that can't be listed hides files: a row says so.
            yield Source(folder, problem=problem_of(error))
            return
        stack.append((folder, real, ordered))

    def _file(self, path: str, real: str) -> Iterator[Source]:
        if real in self._excluded:
            return
        named = has_image_suffix(path)
        try:
            status = os.stat(path)
        except OSError as error:
            if named:
                yield Source(path, problem=problem_of(error))
            else:
                self.other_files += self._is_ours(path)
            return
        regular = stat.S_ISREG(status.st_mode)
        if not (named or (regular and self._is_image(path))):
            self.other_files += self._is_ours(path)
        elif self._seen.add(real):
            yield _source(path, status)

    @staticmethod
    def _is_image(path: str) -> bool:
        try:
            with Source(path).open() as file:
                return sniff_media_type(file.read(HEAD_BYTES)) is not None
        except OSError:
            return False


def _kind_of(entry: os.DirEntry[str]) -> bytes:
    is_link = entry.is_symlink()
    try:
        if entry.is_dir():
            return _LINKED_FOLDER if is_link else _FOLDER
    except OSError:  # a link that leads round in a circle
        return _LINK
    return _LINK if is_link else _FILE


def _source(path: str, status: os.stat_result) -> Source:
    if not stat.S_ISREG(status.st_mode):
        return Source(path, problem=Status.NOT_A_REGULAR_FILE)
    return Source(path, status.st_size, status.st_mtime_ns)


def problem_of(error: OSError | ValueError) -> Status:
    """The status for an error from opening or reading a file."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Status.NOT_FOUND
    if isinstance(error, PermissionError):
        return Status.PERMISSION_DENIED
    if isinstance(error, IsADirectoryError):
        return Status.NOT_A_REGULAR_FILE
    if isinstance(error, ValueError):  # a NUL in the name
        return Status.NOT_FOUND
    return Status.READ_ERROR


def read_paths(stream: BinaryIO, *, separator: bytes) -> Iterator[str]:
    """The paths on `stream`, split at `separator`, as they come; empty ones are skipped."""
    remainder = b""
    while block := stream.read1(1 << 16) if hasattr(stream, "read1") else stream.read(1 << 16):
        *whole, remainder = (remainder + block).split(separator)
        yield from (os.fsdecode(path) for path in whole if path)
    if remainder:
        yield os.fsdecode(remainder)
