"""Bytes as they come: from a server's answer, or from a part of a file."""

from __future__ import annotations

import io
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, BinaryIO

from fakescan.records import Status
from fakescan.sources.failures import SourceError, translated

if TYPE_CHECKING:
    import asyncio

ANSWER_SECONDS = 600.0
"""How long one answer may take as a whole, so that a server that drips can't hold up a scan."""

CHUNK_BYTES = 1 << 20


class Answer(io.RawIOBase):
    """Bytes as they come from a coroutine `receive`, which gives at most as many as asked for.

    `read` gives fewer than asked for at the end alone.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[int], Awaitable[bytes]],
        let_go: Callable[[], object],
    ) -> None:
        super().__init__()
        self._loop = loop
        self._receive = receive
        self._let_go = let_go
        self._ends_at = time.monotonic() + ANSWER_SECONDS

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, which must be given: an answer may be endless."""
        if size < 0:
            raise ValueError("how many bytes?")
        from fsspec.asyn import sync

        with translated():
            data: bytes = sync(self._loop, self._gather, size)
        return data

    async def _gather(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            if time.monotonic() > self._ends_at:
                raise SourceError(Status.READ_ERROR)
            block = await self._receive(min(size - len(data), CHUNK_BYTES))
            if not block:
                break
            data += block
        return bytes(data)

    def close(self) -> None:
        """Let the connection go."""
        if not self.closed:
            self._loop.call_soon_threadsafe(self._let_go)
        super().close()


class Slice(io.RawIOBase):
    """The next `size` bytes of a file, which it closes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file = file
        self._left = size

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer at the end; all that is left for -1."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()


class TranslatedSlice(Slice):
    """The same of a library's file, whose errors become OSError."""

    @translated()
    def read(self, size: int = -1) -> bytes:
        """As `Slice.read`. Raises OSError, whatever the file does."""
        return super().read(size)
