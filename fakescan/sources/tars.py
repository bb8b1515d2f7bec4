"""The members of a tar, by one walk over its headers."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from fakescan.records import Status
from fakescan.sources.failures import LARGEST_FILE, SourceError

BLOCK_BYTES = 512
MAX_EXTRA_BYTES = 1 << 20
"""Of an extended header or a long name (POSIX allows paths of 4 KiB)."""

MAX_EXTRA_HEADERS = 16
"""Before one member."""

MAX_LINKS = 40
"""From one link to the next; as many as Linux follows."""

_SPARSE_NAMES = {"GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major"}
# Where GNU's sparse header, and each block that continues it, say that another block follows.
_HAS_MAP_AT, _MAP_GOES_ON_AT = 482, 504

_LONG_NAMES = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
"""What GNU's extra headers hold, by the names that pax has for it."""

_EXTRA_TYPES = (*_LONG_NAMES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A file in a tar: where its bytes lie, or why they can't be had.

    `target` is the name of the member that it is a link to.
    """

    name: str
    offset: int
    size_bytes: int
    modified_ns: int
    problem: Status | None = None
    target: str | None = None


def looks_like_tar(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is a tar, perhaps an empty one."""
    if len(head) < BLOCK_BYTES:
        return False
    if not head.strip(b"\0"):
        return True
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK_BYTES], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def read_tar(read_at: Callable[[int, int], bytes]) -> Iterator[TarEntry]:
    """The files of a tar in their order; `read_at(start, size)` gives its bytes, fewer at its end.

    Links, hard and symbolic, have the bytes of the member that they lead to, or are `not_found`.
    Formats: ustar and pax (POSIX.1-2001), and GNU's long names. Raises SourceError where it is
    damaged or breaks off.
    """
    members: dict[str, list[TarEntry]] | None = None
    for entry in _walk(read_at):
        if entry.target is not None and members is None:
            # Most tars have no links, and need no memory for their names.
            members = _by_name(read_at)
        yield entry if members is None else _follow(entry, members)


def _by_name(read_at: Callable[[int, int], bytes]) -> dict[str, list[TarEntry]]:
    members: dict[str, list[TarEntry]] = {}
    with suppress(SourceError):  # whoever walks on comes to it as well
        for entry in _walk(read_at):
            members.setdefault(posixpath.normpath(entry.name), []).append(entry)
    return members


def _follow(link: TarEntry, members: dict[str, list[TarEntry]]) -> TarEntry:
    """The entry itself, or with the bytes of the member that it leads to."""
    entry = link
    for _ in range(MAX_LINKS):
        if entry.target is None:
            return replace(entry, name=link.name)
        # Of several of a name, it leads to what was there last when it was written.
        named = members.get(entry.target, [])
        before = [one for one in named if one.offset < entry.offset]
        if not named:
            break
        entry = before[-1] if before else named[0]
    return replace(link, problem=Status.NOT_FOUND)


def _walk(read_at: Callable[[int, int], bytes]) -> Iterator[TarEntry]:
    """Its files and links, these as they stand there."""
    offset = end = 0
    extra: dict[str, str] = {}
    extra_headers = 0
    while (header := _read_header(read_at, offset)) is not None:
        if header.type in _EXTRA_TYPES:
            extra_headers += 1
            if header.size > MAX_EXTRA_BYTES or extra_headers > MAX_EXTRA_HEADERS:
                raise SourceError(Status.CORRUPT)
            # What is said of all members (XGLTYPE) is never a name or a size of one.
            if header.type != tarfile.XGLTYPE:
                extra |= _read_extra(header.type, read_at(offset + BLOCK_BYTES, header.size))
            offset += BLOCK_BYTES + _whole_blocks(header.size)
            continue
        is_sparse = header.type == tarfile.GNUTYPE_SPARSE or bool(_SPARSE_NAMES & extra.keys())
        offset = _skip_map(read_at, offset) if header.type == tarfile.GNUTYPE_SPARSE else offset
        offset += BLOCK_BYTES
        size = _number(extra.get("size")) or header.size
        if offset + size > LARGEST_FILE:
            raise SourceError(Status.CORRUPT)
        name, modified_ns = extra.get("path", header.name), int(header.mtime) * 10**9
        if header.isreg():
            problem = Status.UNSUPPORTED_FORMAT if is_sparse else None
            yield TarEntry(name, offset, size, modified_ns, problem)
        elif header.islnk() or header.issym():
            target = extra.get("linkpath", header.linkname)
            # A hard link names its member as the tar does, a symbolic one from where it lies.
            folder = "" if header.islnk() else posixpath.dirname(name)
            target = posixpath.normpath(posixpath.join(folder, target))
            yield TarEntry(name, offset, 0, modified_ns, target=target)
        if header.isreg() or header.type not in tarfile.SUPPORTED_TYPES:
            end = offset + size
            offset += _whole_blocks(size)
        extra, extra_headers = {}, 0
    # Where its end blocks are missing, the last member may be as well, or what a header announces.
    if not read_at(offset, 1) and (extra_headers or (end and not read_at(end - 1, 1))):
        raise SourceError(Status.TRUNCATED)


def _read_header(read_at: Callable[[int, int], bytes], offset: int) -> tarfile.TarInfo | None:
    """The header at `offset`; None at the end."""
    block = read_at(offset, BLOCK_BYTES)
    if not block.strip(b"\0"):
        return None  # two empty blocks, which some writers leave out
    if len(block) < BLOCK_BYTES:
        raise SourceError(Status.TRUNCATED)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise SourceError(Status.CORRUPT) from None
    if header.size < 0:  # which would lead back, and round in a circle
        raise SourceError(Status.CORRUPT)
    return header


def _skip_map(read_at: Callable[[int, int], bytes], offset: int) -> int:
    """Where the last block of the sparse header at `offset` begins."""
    goes_on_at = _HAS_MAP_AT
    while True:
        block = read_at(offset, BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            raise SourceError(Status.TRUNCATED)
        if not block[goes_on_at]:
            return offset
        goes_on_at = _MAP_GOES_ON_AT
        offset += BLOCK_BYTES


def _read_extra(kind: bytes, data: bytes) -> dict[str, str]:
    if kind in _LONG_NAMES:
        return {_LONG_NAMES[kind]: data.partition(b"\0")[0].decode(errors="surrogateescape")}
    records: dict[str, str] = {}
    while data.strip(b"\0"):
        # "LENGTH NAME=VALUE\n", the length that of all of it.
        digits, _, _ = data[:20].partition(b" ")
        length = _number(digits.decode("latin-1")) or 0
        record = data[len(digits) + 1 : length]
        name, sign, value = record.partition(b"=")
        if not sign or not record.endswith(b"\n"):
            raise SourceError(Status.CORRUPT)
        records[name.decode(errors="replace")] = value[:-1].decode(errors="surrogateescape")
        data = data[length:]
    return records


def _number(text: str | None) -> int | None:
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if text is not None and is_number else None


def _whole_blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES
