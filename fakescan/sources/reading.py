"""Reading within bounds: of files' bytes, and of lists of paths."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from fakescan.records import FakescanError, Source
from fakescan.sources.failures import attempt

_BLOCK_BYTES = 16 << 20
"""By how much a file that is longer than announced is read on, and reserved for."""


def read_bounded(
    source: Source, most: int, reserve: Callable[[int], None] | None = None
) -> bytes | None:
    """All of a file; None where it is longer than `most` bytes. Raises as `Source.open` does.

    `reserve` is called before bytes are taken: with the size announced, before the file is even
    opened, and again for each block that comes beyond it. So a size that was a lie, or unknown,
    costs no more than it takes.
    """
    return attempt(lambda: _read_once(source, most, reserve or (lambda amount: None)))


def _read_once(source: Source, most: int, reserve: Callable[[int], None]) -> bytes | None:
    expected = min(_BLOCK_BYTES if source.size_bytes is None else source.size_bytes, most)
    reserve(expected)
    with source.open() as file:
        data = file.read(expected + 1)
        if len(data) <= expected:
            return data
        # Longer than announced: a file that grew, or a server that lied or said nothing.
        blocks, size = [data], len(data)
        while size <= most:
            reserve(_BLOCK_BYTES)
            block = file.read(_BLOCK_BYTES)
            if not block:
                break
            blocks.append(block)
            size += len(block)
    if size > most:
        return None
    reserve(size)  # for a moment it is there twice
    return b"".join(blocks)


def read_paths(stream: BinaryIO, *, separator: bytes) -> Iterator[str]:
    """The paths on `stream`, split at `separator`, as they come; empty ones are skipped.

    Of lines that end as Windows ends them, the end is no part of the path, nor is UTF-8's mark at
    the beginning. Raises FakescanError for a list in UTF-16.
    """
    is_first = True

    def decode(path: bytes) -> str:
        nonlocal is_first
        has_return = separator == b"\n" and path.endswith(b"\r") and not os.path.lexists(path)
        path = path[:-1] if has_return else path
        if is_first and not os.path.lexists(path):
            if path.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise FakescanError("A list of paths is in UTF-16; save it as UTF-8.")
            path = path.removeprefix(codecs.BOM_UTF8)
        is_first = False
        return os.fsdecode(path)

    remainder = b""
    while block := stream.read1(1 << 16) if hasattr(stream, "read1") else stream.read(1 << 16):
        *whole, remainder = (remainder + block).split(separator)
        yield from filter(None, map(decode, whole))
    if last := decode(remainder):
        yield last
