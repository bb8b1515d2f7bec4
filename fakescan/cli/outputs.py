"""Where the findings of `fakescan scan` go: reports, standard output, overlays."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import typer

from fakescan.cli.inputs import Inputs
from fakescan.cli.streams import ReaderLeftError, drop_output
from fakescan.records import ExitCode, FakescanError, Finding

if TYPE_CHECKING:
    from rich.console import Console

    from fakescan.options import ScanOptions
    from fakescan.reports import Report


class _WatchedReport:
    """A report on standard output, whose reader may have seen enough before the end: `| head`.

    That ends the scan where the report `is_all` that was asked for.
    """

    def __init__(self, report: Report, *, is_all: bool) -> None:
        self._report = report
        self._is_all = is_all

    def __enter__(self) -> Self:
        self._report.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._watch():
            self._report.__exit__(kind, error, traceback)

    def write(self, finding: Finding, record: dict[str, object]) -> None:
        with self._watch():
            self._report.write(finding, record)

    @contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            drop_output()
            if self._is_all:
                raise typer.Exit(ExitCode.DONE) from None
        except ReaderLeftError:
            if self._is_all:
                raise


def store_files(store: Path | None) -> Iterator[Path]:
    """The store and SQLite's own files, which come and go beside it."""
    if store is not None:
        yield from (store.with_name(store.name + end) for end in ("", "-wal", "-shm", "-journal"))


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where findings go. With `fail_on_ai`, the exit code tells of all of them."""

    reports: tuple[Path, ...]
    json_lines: bool
    overlay: Path | None
    overlay_all: bool
    fail_on_ai: bool

    def check(self, inputs: Inputs, store: Path | None) -> None:
        """Raise FakescanError for what can't be written, or would take the place of another file.

        `store` is the one that was named.
        """
        from fakescan.reports import check_report_path

        if self.overlay_all and self.overlay is None:
            raise FakescanError("--overlay-all needs --overlay FOLDER.")
        for report in self.reports:
            check_report_path(report)
        taken = inputs.real_paths()
        written = [("report", path) for path in self.reports]
        written += [("store", path) for path in store_files(store)]
        overlay = None if self.overlay is None else os.path.realpath(self.overlay)
        for kind, path in written:
            target = os.path.realpath(path)
            if target in taken:
                raise FakescanError(f"The {kind} {path} is {taken[target]}; name another file.")
            if target == overlay:
                raise FakescanError(f"The {kind} {path} is also --overlay, which is a folder.")
            taken[target] = "named twice"

    def open_standard(self) -> list[Report]:
        """What goes to standard output: JSON Lines, or a table where there is no report."""
        from fakescan.cli.console import OutputConsole
        from fakescan.reports.jsonl import JsonLinesStream
        from fakescan.reports.terminal import TerminalReport

        if self.json_lines:
            if sys.stdout is None:
                raise FakescanError("--json needs standard output, which is closed.")
            return [self._watched(JsonLinesStream(sys.stdout.buffer))]
        if self.reports or sys.stdout is None:
            return []
        return [self._watched(TerminalReport(OutputConsole()))]

    def _watched(self, report: Report) -> Report:
        is_all = not (self.reports or self.overlay or self.fail_on_ai)
        return _WatchedReport(report, is_all=is_all)

    def overlays(self, options: ScanOptions, errors: Console) -> Callable[[Finding], Finding]:
        """What adds an overlay to a finding, where one is wanted."""
        if self.overlay is None:
            return lambda finding: finding
        from fakescan.explain import Explainer, OverlayFolder
        from fakescan.pipeline import locate_models

        located = locate_models(options)
        if not all(isinstance(model, Path) for model in located):
            errors.print(
                "Overlays are drawn for fakescan's own models only; what others judge gets none.",
                highlight=False,
                soft_wrap=True,
            )
        folder = OverlayFolder(
            self.overlay,
            Explainer(located),
            max_pixels=options.max_pixels,
            every=self.overlay_all,
        )
        return folder.add
