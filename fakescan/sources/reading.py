"""Reading within bounds, and what became of it when it failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

from fakescan.records import Status

_BLOCK_BYTES = 16 << 20
"""By how much a file that is longer than announced is read on, and reserved for."""


class SourceError(OSError):
    """A file can't be read, and this is its status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.sentence)
        self.status = status

    def __reduce__(self) -> tuple[type[SourceError], tuple[Status]]:
        return type(self), (self.status,)


class TransientError(SourceError):
    """A file can't be read just now; tried again, it may be."""


def problem_of(error: OSError | ValueError) -> Status:
    """The status for an error from opening or reading a file."""
    if isinstance(error, SourceError):
        return error.status
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Status.NOT_FOUND
    if isinstance(error, PermissionError):
        return Status.PERMISSION_DENIED
    if isinstance(error, IsADirectoryError):
        return Status.NOT_A_REGULAR_FILE
    if isinstance(error, ValueError):  # a NUL in the name
        return Status.NOT_FOUND
    return Status.READ_ERROR


def read_bounded(
    open_file: Callable[[], BinaryIO],
    announced: int | None,
    most: int,
    reserve: Callable[[int], None] = lambda amount: None,
) -> bytes | None:
    """All of a file; None where it is longer than `most` bytes.

    `reserve` is called before bytes are taken: with the `announced` size, before the file is even
    opened, and again for each block that comes beyond it. So a size that was a lie, or unknown,
    costs no more than it takes.
    """
    expected = min(_BLOCK_BYTES if announced is None else announced, most)
    reserve(expected)
    with open_file() as file:
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
    """The paths on `stream`, split at `separator`, as they come; empty ones are skipped."""
    remainder = b""
    while block := stream.read1(1 << 16) if hasattr(stream, "read1") else stream.read(1 << 16):
        *whole, remainder = (remainder + block).split(separator)
        yield from (os.fsdecode(path) for path in whole if path)
    if remainder:
        yield os.fsdecode(remainder)
