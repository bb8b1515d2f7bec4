"""Members of zips and tars, local or remote, each read where it lies; nothing is unpacked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self, cast

from fakescan.records import Source, Status
from fakescan.sources.failures import SourceError
from fakescan.sources.formats import HEAD_BYTES, sniff_media_type
from fakescan.sources.remote import WINDOW_BYTES, RemoteSource
from fakescan.sources.streams import Slice
from fakescan.sources.tars import BLOCK_BYTES, TarEntry, looks_like_tar, read_tar
from fakescan.sources.zips import (
    LOCAL_HEADER_BYTES,
    METHODS,
    MemberFile,
    ZipEntry,
    data_offset,
    read_zip,
)

_EXTRA_GUESS = 512
"""Of a local header's extra field, so that one request brings header and bytes."""


@dataclass(frozen=True, slots=True)
class MemberSource(Source):
    """A file in an archive. `path` is its key, such as `zip://a/b.jpg::photos.zip`.

    `offset` is where its bytes lie in a tar, and its local header in a zip, of which `entry` then
    tells the rest.
    """

    member: str = ""
    archive: Source = field(default_factory=lambda: Source(""))
    offset: int = 0
    entry: ZipEntry | None = None

    @property
    def name(self) -> str:
        """Its name in the archive."""
        return self.member

    def open(self) -> BinaryIO:
        """Open for reading its bytes, uncompressed. Raises OSError."""
        if self.entry is None:
            return open_range(self.archive, self.offset, self.offset + (self.size_bytes or 0))
        return self._open_zipped(self.entry)

    def identity(self) -> tuple[bytes, int, int, int] | None:
        """That of the archive, with its name and place there."""
        whole = self.archive.identity()
        if whole is None:
            return None
        key, size_bytes, modified_ns, changed_ns = whole
        place = f"\0{size_bytes}\0{self.offset}\0{self.member}"
        key += place.encode(errors="surrogatepass")
        return key, self.size_bytes or 0, modified_ns, changed_ns

    def _open_zipped(self, entry: ZipEntry) -> BinaryIO:
        guess = LOCAL_HEADER_BYTES + len(entry.name.encode(errors="surrogatepass")) + _EXTRA_GUESS
        stop = self.offset + guess + entry.stored_bytes
        with ExitStack() as opened:
            file = opened.enter_context(open_range(self.archive, self.offset, stop))
            ahead = data_offset(file.read(LOCAL_HEADER_BYTES))
            if ahead <= guess:
                file.read(ahead - LOCAL_HEADER_BYTES)
            else:
                start = self.offset + ahead
                file.close()
                file = open_range(self.archive, start, start + entry.stored_bytes)
            opened.pop_all()
        claims = (entry.method, entry.stored_bytes, entry.size_bytes, entry.checksum)
        return cast("BinaryIO", MemberFile(file, *claims))


def open_range(archive: Source, start: int, stop: int) -> BinaryIO:
    """Open a part of a file, which may end before `stop`. Raises OSError."""
    if isinstance(archive, RemoteSource):
        return archive.open_range(start, stop)
    file = archive.open()
    file.seek(start)
    return cast("BinaryIO", Slice(file, stop - start))


class Archive:
    """A zip or tar, entered to walk over its members.

    `protocol` is `zip` or `tar`. Raises OSError on entry if it can't be opened.
    """

    def __init__(self, source: Source, protocol: str) -> None:
        self.source = source
        self._protocol = protocol
        self._file: BinaryIO | None = None
        self._window = (0, b"")

    def __enter__(self) -> Self:
        if not isinstance(self.source, RemoteSource):
            self._file = self.source.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def head(self) -> bytes:
        """The first bytes, or fewer."""
        return self._read_at(0, BLOCK_BYTES)

    def is_what_it_says(self) -> bool:
        """Whether it begins as its name promises, or might be a zip behind a program."""
        head = self.head()
        if self._protocol == "tar":
            return looks_like_tar(head)
        return head[:2] in {b"PK", b"MZ"}

    def members(self) -> Iterator[MemberSource]:
        """Every file in it, in the archive's order. Raises SourceError where it is damaged."""
        if self._protocol == "tar":
            yield from map(self._tar_member, read_tar(self._read_at))
        else:
            yield from map(self._zip_member, read_zip(self._read_at, self._length()))

    def begins_as_image(self, member: MemberSource) -> bool:
        """Whether its first bytes are an image's: asked only where that costs no request."""
        if not member.size_bytes or (member.entry is not None and self._file is None):
            return False
        try:
            if member.entry is None:
                head = self._read_at(member.offset, min(HEAD_BYTES, member.size_bytes))
            else:
                with member.open() as file:
                    head = file.read(HEAD_BYTES)
        except OSError:
            return False
        return sniff_media_type(head) is not None

    def key_of(self, member: str) -> str:
        """The key of a member, as fsspec chains it."""
        return f"{self._protocol}://{member}::{self.source.path}"

    def _tar_member(self, entry: TarEntry) -> MemberSource:
        name = _without_nul(entry.name)
        return MemberSource(
            self.key_of(name),
            entry.size_bytes,
            entry.modified_ns,
            entry.problem,
            name,
            self.source,
            entry.offset,
        )

    def _zip_member(self, entry: ZipEntry) -> MemberSource:
        problem = None
        if entry.is_encrypted:
            problem = Status.PERMISSION_DENIED
        elif entry.is_patch or entry.method not in METHODS:
            problem = Status.UNSUPPORTED_FORMAT
        name = _without_nul(entry.name)
        # Its time is that of some unknown time zone.
        return MemberSource(
            self.key_of(name),
            entry.size_bytes,
            None,
            problem,
            name,
            self.source,
            entry.offset,
            entry,
        )

    def _length(self) -> int:
        if self._file is not None:
            return self._file.seek(0, os.SEEK_END)
        if self.source.size_bytes is None:
            raise SourceError(Status.READ_ERROR)  # its end, where all begins, can't be found
        return self.source.size_bytes

    def _read_at(self, start: int, size: int) -> bytes:
        if self._file is not None:
            self._file.seek(start)
            return self._file.read(size)
        data = bytearray()
        while len(data) < size:
            begin, window = self._window
            at = start + len(data) - begin
            piece = window[at : at + size - len(data)] if at >= 0 else b""
            if not piece:
                if at >= 0 and 0 < len(window) < WINDOW_BYTES:
                    break  # it ended there
                begin = start + len(data)
                assert isinstance(self.source, RemoteSource)
                window = self.source.read_window(begin)
                self._window = (begin, window)
                if not window:
                    break
                continue
            data += piece
        return bytes(data)


def _without_nul(name: str) -> str:
    # No file's path has a NUL, and reports needn't learn of one.
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}")
