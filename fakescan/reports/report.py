"""What every report is, and the text file that takes its name only when it is complete."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO

from fakescan.records import FakescanError, Finding
from fakescan.reports.summary import Summary
from fakescan.sources.temporaries import temporary_path


@dataclass(frozen=True, slots=True)
class ReportHeader:
    """What a report says of the scan itself, as JSON values.

    `program` is name and version; `models` tells of each model loaded; `settings` are the options
    that the findings depend on.
    """

    program: dict[str, object]
    models: tuple[dict[str, object], ...]
    settings: dict[str, object]


class Report(Protocol):
    """A report being written: enter it, write every finding, leave it.

    It is complete once left without an exception; otherwise it is as if it never was.
    Entering, writing and leaving raise FakescanError when the report can't be written.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def write(self, finding: Finding, record: dict[str, object]) -> None:
        """Add one finding; `record` is its `to_record`, made once for all reports."""


class TextReport(ABC):
    """A report in a UTF-8 text file. It streams: no finding is kept.

    It is written under a hidden temporary name in the same folder, so that a report that was
    there before stays until this one is complete on the disk, and then leaves it its permissions.
    """

    def __init__(self, path: Path, header: ReportHeader, summary: Summary) -> None:
        self.path = path
        self.header = header
        self.summary = summary
        # Through a link, what it points to is replaced and the link stays.
        self._target = Path(os.path.realpath(path))
        self._temporary = temporary_path(self._target)
        self._file: TextIO | None = None

    @abstractmethod
    def begin(self) -> str:
        """The text before the first finding."""

    @abstractmethod
    def format(self, finding: Finding, record: dict[str, object]) -> str:
        """One finding's text."""

    @abstractmethod
    def end(self) -> str:
        """The text after the last finding, when `summary` is complete."""

    def __enter__(self) -> Self:
        try:
            self._file = open(self._temporary, "x", encoding="utf-8", newline="")
            with suppress(OSError):
                self._temporary.chmod(self._target.stat().st_mode & 0o777)
            self._file.write(self.begin())
        except OSError as error:
            self._discard()
            raise self._failure(error) from error
        return self

    def write(self, finding: Finding, record: dict[str, object]) -> None:
        """Add one finding. Raises FakescanError when the file can't be written."""
        assert self._file is not None, "a report is entered before it is written"
        try:
            self._file.write(self.format(finding, record))
        except OSError as error:
            raise self._failure(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._complete()
        finally:
            self._discard()

    def _complete(self) -> None:
        assert self._file is not None
        try:
            self._file.write(self.end())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._target)
        except OSError as error:
            raise self._failure(error) from error

    def _discard(self) -> None:
        # Closing writes what is still buffered, which fails again on a full disk.
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        with suppress(OSError):
            self._temporary.unlink()

    def _failure(self, error: OSError) -> FakescanError:
        return FakescanError(f"The report {self.path} can't be written: {error.strerror}.")
