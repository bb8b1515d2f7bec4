"""The files of a folder or archive, each with its name, which begins with a root folder's."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from fakescan.images import read_bytes
from fakescan.records import FakescanError, Source
from fakescan.sources import has_image_suffix

# OSError is what gzip and bz2 raise on damage, RuntimeError zipfile on encryption.
_ARCHIVE_ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError),
)

# Where macOS keeps what is no picture, beside the folder that was packed.
_NO_ROOT = "__MACOSX"


def name_of(path: Path) -> str:
    """What the folder or archive is called, without suffixes."""
    return path.name.split(".")[0] or path.resolve().name


def list_names(path: Path) -> Iterator[str]:
    """Every file's name. Raises FakescanError for a damaged archive."""
    try:
        if path.is_dir():
            yield from (name for name, _ in walk(path))
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from _rooted(path, archive.namelist())
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                yield from _rooted(path, tar.getnames())
    except _ARCHIVE_ERRORS as error:
        raise FakescanError(f"{path}: the archive is damaged or can't be read ({error})") from error


def read_file(path: Path) -> bytes:
    """Its bytes; none where it can't be read."""
    data = read_bytes(Source(str(path)))
    return data if isinstance(data, bytes) else b""


def read_files(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file whose name `is_wanted`.

    Raises FakescanError for what is neither a folder nor an archive, and for a damaged one.
    """
    try:
        if path.is_dir():
            yield from _files_of_folder(path, is_wanted)
        elif zipfile.is_zipfile(path):
            yield from _files_of_zip(path, is_wanted)
        elif tarfile.is_tarfile(path):
            yield from _files_of_tar(path, is_wanted)
        else:
            raise FakescanError(f"{path}: neither a folder nor a .zip or .tar archive")
    except _ARCHIVE_ERRORS as error:
        raise FakescanError(f"{path}: the archive is damaged or can't be read ({error})") from error


def walk(path: Path) -> Iterator[tuple[str, Path]]:
    """Each file below a folder with its name, which begins with the folder's, however given."""
    root = PurePosixPath(path.name or path.resolve().name or "data")
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            yield (root / file.relative_to(path).as_posix()).as_posix(), file


def _rooted(path: Path, names: list[str]) -> list[str]:
    # As those of a folder, whatever was packed: the folder itself, or what lies in it.
    roots = {
        parts[0]
        for parts in (PurePosixPath(name).parts for name in names if has_image_suffix(name))
        if len(parts) > 1 and parts[0] != _NO_ROOT
    }
    return names if len(roots) == 1 else [f"{name_of(path)}/{name}" for name in names]


def _files_of_folder(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for name, file in walk(path):
        if is_wanted(name):
            yield name, read_file(file)


def _files_of_zip(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        stored = sorted(archive.namelist())
        for name, one in zip(_rooted(path, stored), stored, strict=True):
            if is_wanted(name):
                yield name, archive.read(one)


def _files_of_tar(path: Path, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        names = _rooted(path, [member.name for member in members])
        for name, member in zip(names, members, strict=True):
            file = archive.extractfile(member) if is_wanted(name) else None
            if file is not None:
                yield name, file.read()
        # To tarfile a damaged header is an end like any other; and checksums come last.
        stream = archive.fileobj
        assert stream is not None
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError("a header is none")
        while stream.read(1 << 20):
            pass
