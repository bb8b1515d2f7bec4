"""JSON Lines: one record a line, into a file or a stream."""

from __future__ import annotations

from types import TracebackType
from typing import BinaryIO, Self

from fakescan.records import FakescanError, Finding
from fakescan.reports.record import encode_json
from fakescan.reports.report import TextReport


class JsonLinesReport(TextReport):
    """A record on each line and nothing else."""

    def begin(self) -> str:
        """Nothing."""
        return ""

    def format(self, finding: Finding, record: dict[str, object]) -> str:
        """The finding's line."""
        return f"{encode_json(record)}\n"

    def end(self) -> str:
        """Nothing."""
        return ""


class JsonLinesStream:
    """The same lines into a stream that is already open, such as `sys.stdout.buffer`.

    Every line is flushed, so that the next program in a pipe has it at once. The stream takes
    bytes, since a terminal's encoding need not be UTF-8; it is left open.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def write(self, finding: Finding, record: dict[str, object]) -> None:
        """Write one line.

        Raises BrokenPipeError when the reader has gone, FakescanError when writing fails otherwise.
        """
        try:
            self._stream.write(f"{encode_json(record)}\n".encode())
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise FakescanError(f"The output can't be written: {error.strerror}.") from error
