"""The members of a zip, by one walk over its central directory, and their bytes."""

from __future__ import annotations

import bz2
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fakescan.records import Status
from fakescan.sources.failures import LARGEST_FILE, SourceError

LOCAL_HEADER_BYTES = 30
STORED, DEFLATED, BZIP2 = 0, 8, 12
METHODS = frozenset((STORED, DEFLATED, BZIP2))

_CHUNK_BYTES = 1 << 16
_END_BYTES = 22
_LONGEST_COMMENT = 0xFFFF
_IN_EXTRA = 0xFFFFFFFF
_ENCRYPTED, _PATCH, _UTF8, _MASKED = 0x1, 0x20, 0x800, 0x2000


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A member as the central directory tells of it: claims, which its bytes may belie.

    `offset` is that of its local header, `stored_bytes` what it takes in the archive, `size_bytes`
    what it should come to.
    """

    name: str
    offset: int
    stored_bytes: int
    size_bytes: int
    method: int
    checksum: int
    is_encrypted: bool
    is_patch: bool


@dataclass(frozen=True, slots=True)
class _Directory:
    start: int
    size_bytes: int
    shift: int
    """How many bytes stand before the archive that its offsets don't know of."""


def read_zip(read_at: Callable[[int, int], bytes], length: int) -> Iterator[ZipEntry]:
    """The files of a zip of `length` bytes, in the order of its central directory.

    `read_at(start, size)` gives its bytes, fewer at its end. By PKWARE's APPNOTE 6.3.10, zip64
    included. Raises SourceError where it is damaged or breaks off.
    """
    directory = _find_directory(read_at, length)
    place, end = directory.start, directory.start + directory.size_bytes
    buffer = b""
    while place < end:
        if len(buffer) < 46 + 3 * 0xFFFF and place + len(buffer) < end:
            start = place + len(buffer)
            more = read_at(start, min(end - start, 1 << 18))
            if not more:
                raise SourceError(Status.TRUNCATED)
            buffer += more
            continue
        if buffer[:4] != b"PK\x01\x02" or len(buffer) < 46:
            raise SourceError(Status.CORRUPT)
        lengths = struct.unpack("<3H", buffer[28:34])
        whole = 46 + sum(lengths)
        if whole > len(buffer):
            raise SourceError(Status.CORRUPT)
        entry = _read_entry(buffer[:whole], lengths[0], lengths[1], directory.shift)
        if max(entry.offset, entry.stored_bytes, entry.size_bytes) > LARGEST_FILE:
            raise SourceError(Status.CORRUPT)
        if not entry.name.endswith("/"):
            yield entry
        buffer = buffer[whole:]
        place += whole


def _read_entry(record: bytes, name_length: int, extra_length: int, shift: int) -> ZipEntry:
    flags, method = struct.unpack("<2H", record[8:12])
    checksum, stored, size = struct.unpack("<3I", record[16:28])
    (offset,) = struct.unpack("<I", record[42:46])
    extra = record[46 + name_length : 46 + name_length + extra_length]
    wide = _zip64_extra(extra)
    # In this order, and only those that don't fit.
    size, stored, offset = (
        _next_wide(wide) if value == _IN_EXTRA else value for value in (size, stored, offset)
    )
    encoding = "utf-8" if flags & _UTF8 else "cp437"
    return ZipEntry(
        name=record[46 : 46 + name_length].decode(encoding, errors="surrogateescape"),
        offset=offset + shift,
        stored_bytes=stored,
        size_bytes=size,
        method=method,
        checksum=checksum,
        is_encrypted=bool(flags & (_ENCRYPTED | _MASKED)),
        is_patch=bool(flags & _PATCH),
    )


def _zip64_extra(extra: bytes) -> list[int]:
    while len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == 1:
            values = extra[4 : 4 + min(length, 24)]
            count = len(values) // 8
            return list(struct.unpack(f"<{count}Q", values[: 8 * count]))
        extra = extra[4 + length :]
    return []


def _next_wide(wide: list[int]) -> int:
    # Without a wide one, the value itself may happen to be the mark.
    return wide.pop(0) if wide else _IN_EXTRA


def _find_directory(read_at: Callable[[int, int], bytes], length: int) -> _Directory:
    tail_start = max(0, length - _END_BYTES - _LONGEST_COMMENT)
    tail = read_at(tail_start, length - tail_start)
    at = tail.rfind(b"PK\x05\x06", 0, len(tail) - _END_BYTES + 4)
    if at < 0:
        raise SourceError(Status.TRUNCATED if length else Status.EMPTY)
    size, start = struct.unpack("<2I", tail[at + 12 : at + 20])
    end = tail_start + at
    locator = read_at(end - 20, 20) if end >= 20 else b""
    if locator[:4] == b"PK\x06\x07":
        # The record itself stands before its locator, wherever the locator says.
        record = read_at(end - 76, 56) if end >= 76 else b""
        if record[:4] == b"PK\x06\x06":
            size, start = struct.unpack("<2Q", record[40:56])
            end -= 76
    shift = end - size - start
    if shift < 0:
        raise SourceError(Status.CORRUPT)
    return _Directory(start + shift, size, shift)


def data_offset(header: bytes) -> int:
    """How far a member's bytes lie behind its local header, which begins with these 30 bytes."""
    if len(header) < LOCAL_HEADER_BYTES:
        raise SourceError(Status.TRUNCATED)
    if header[:4] != b"PK\x03\x04":
        raise SourceError(Status.CORRUPT)
    name_length, extra_length = struct.unpack("<2H", header[26:30])
    return LOCAL_HEADER_BYTES + int(name_length) + int(extra_length)


class MemberFile(io.RawIOBase):
    """A member's own bytes, from the compressed ones in `file`, which it closes.

    Never more than announced: a bomb whose size is a lie is `corrupt` when it passes that, as is
    one with another checksum, at its end.
    """

    def __init__(
        self, file: BinaryIO, method: int, stored_bytes: int, size_bytes: int, checksum: int
    ) -> None:
        super().__init__()
        self._file = file
        self._method = method
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._expand = bz2.BZ2Decompressor()
        self._stored_left = stored_bytes
        self._left = size_bytes
        self._checksum = checksum
        self._sum = 0
        self._ended = False

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer at the end. Raises SourceError for what is damaged."""
        if size < 0:
            raise ValueError("how many bytes?")
        data = bytearray()
        while len(data) < size and not self._ended:
            data += self._take(min(size - len(data), _CHUNK_BYTES))
        return bytes(data)

    def close(self) -> None:
        """Close the archive's part too."""
        self._file.close()
        super().close()

    def _take(self, most: int) -> bytes:
        data, is_last = self._decode(most)
        self._left -= len(data)
        self._sum = zlib.crc32(data, self._sum)
        if self._left < 0:
            raise SourceError(Status.CORRUPT)
        if is_last:
            self._ended = True
            if self._left or self._sum != self._checksum:
                raise SourceError(Status.CORRUPT)
        return data

    def _decode(self, most: int) -> tuple[bytes, bool]:
        """At most `most` bytes, and whether they are the last."""
        if self._method == STORED:
            return self._fetch(most), self._stored_left == 0
        is_bzip2 = self._method == BZIP2
        waiting = b"" if is_bzip2 else self._inflate.unconsumed_tail
        is_hungry = self._expand.needs_input if is_bzip2 else not waiting
        given = self._fetch(_CHUNK_BYTES) if is_hungry else waiting
        decoder = self._expand if is_bzip2 else self._inflate
        try:
            data = decoder.decompress(given, most)
        except (zlib.error, OSError):  # bz2 has no error of its own
            raise SourceError(Status.CORRUPT) from None
        if is_hungry and not (given or data or decoder.eof):
            raise SourceError(Status.CORRUPT)  # the stream goes on where the member has ended
        return data, decoder.eof

    def _fetch(self, most: int) -> bytes:
        if not self._stored_left:
            return b""
        block = self._file.read(min(most, self._stored_left))
        if not block:
            raise SourceError(Status.TRUNCATED)
        self._stored_left -= len(block)
        return block
