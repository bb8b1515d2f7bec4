"""Where files come from: folders, arguments and standard input."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from fakescan.records import Source, Status

HEAD_BYTES = 32
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


def sniff_media_type(head: bytes) -> str | None:
    """Media type by the first `HEAD_BYTES` bytes of a file; None for what is no image."""
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


class SourceFinder:
    """The files that a scan of `paths` looks at: iterate it once.

    Order: arguments as given, then depth first, names by their bytes. A file reached twice counts
    once. An image by its first bytes, or any file with an image suffix, is a source; other files
    are only counted, in `other_files`. What `paths` names itself is always a source. Hidden
    entries are skipped unless `hidden`; links to files are read, links to folders entered only
    with `follow_links`; pipes and devices are never opened. Files and folders in `excluded`, as
    real paths, are passed over: the reports that this very scan writes.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        hidden: bool = False,
        follow_links: bool = False,
        excluded: Iterable[str] = (),
    ) -> None:
        self.other_files = 0
        self._paths = paths
        self._hidden = hidden
        self._follow_links = follow_links
        self._excluded = frozenset(excluded)
        self._seen: set[bytes] = set()

    def __iter__(self) -> Iterator[Source]:
        for path in self._paths:
            try:
                status = os.stat(path)
            except (OSError, ValueError) as error:
                yield Source(path, problem=problem_of(error))
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._walk(path)
            elif self._is_new(os.path.realpath(path)):
                yield _source(path, status)

    def _walk(self, top: str) -> Iterator[Source]:
        # An explicit stack: folders may nest deeper than Python recurses.
        stack: list[tuple[str, Iterator[os.DirEntry[str]]]] = []
        yield from self._enter(top, os.path.realpath(top), stack)
        while stack:
            real_folder, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
            elif entry.name.startswith(".") and not self._hidden:
                continue
            elif self._is_folder(entry):
                if self._follow_links or not entry.is_symlink():
                    yield from self._enter(entry.path, _real_path(entry, real_folder), stack)
            else:
                yield from self._file(entry, _real_path(entry, real_folder))

    def _enter(
        self, folder: str, real: str, stack: list[tuple[str, Iterator[os.DirEntry[str]]]]
    ) -> Iterator[Source]:
        if real in self._excluded or not self._is_new(real):
            return
        try:
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            # A folder that can't be listed hides files: a row says so.
            yield Source(folder, problem=problem_of(error))
            return
        stack.append((real, iter(ordered)))

    @staticmethod
    def _is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link that leads round in a circle
            return False

    def _file(self, entry: os.DirEntry[str], real: str) -> Iterator[Source]:
        if real in self._excluded:
            return
        named = has_image_suffix(entry.name)
        try:
            status = entry.stat()
        except OSError as error:
            if named:
                yield Source(entry.path, problem=problem_of(error))
            else:
                self.other_files += 1
            return
        regular = stat.S_ISREG(status.st_mode)
        if not (named or (regular and self._is_image(entry.path))):
            self.other_files += 1
        elif self._is_new(real):
            yield _source(entry.path, status)

    @staticmethod
    def _is_image(path: str) -> bool:
        try:
            with Source(path).open() as file:
                return sniff_media_type(file.read(HEAD_BYTES)) is not None
        except OSError:
            return False

    def _is_new(self, real: str) -> bool:
        # 16 bytes a file: a scan of millions must not hold their names.
        digest = hashlib.blake2b(os.fsencode(real), digest_size=16).digest()
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True


def _real_path(entry: os.DirEntry[str], real_folder: str) -> str:
    # Only a link needs resolving; that costs a call to the system for each part of the path.
    if entry.is_symlink():
        return os.path.realpath(entry.path)
    return os.path.join(real_folder, entry.name)


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
