"""Where the findings of `fakescan scan` go: reports, standard output, overlays."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fakescan.cli.inputs import STANDARD_INPUT
from fakescan.records import FakescanError, Finding

if TYPE_CHECKING:
    from rich.console import Console

    from fakescan.pipeline import ScanOptions
    from fakescan.reports import Report


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where findings go."""

    reports: tuple[Path, ...]
    json_lines: bool
    overlay: Path | None
    overlay_all: bool

    def check(self, paths: Iterable[str]) -> None:
        """Raise FakescanError for reports that can't be written, or that are `paths` to scan."""
        from fakescan.reports import check_report_path

        if self.overlay_all and self.overlay is None:
            raise FakescanError("--overlay-all needs --overlay FOLDER.")
        inputs = {os.path.realpath(path) for path in paths if path != STANDARD_INPUT}
        targets: set[str] = set()
        for report in self.reports:
            check_report_path(report)
            target = os.path.realpath(report)
            if target in inputs:
                raise FakescanError(
                    f"The report {report} is also to be scanned; name another file."
                )
            if target in targets:
                raise FakescanError(f"The report {report} is named twice.")
            targets.add(target)

    def open_standard(self) -> list[Report]:
        """What goes to standard output: JSON Lines, or a table where there is no report."""
        from fakescan.cli.console import OutputConsole
        from fakescan.reports.jsonl import JsonLinesStream
        from fakescan.reports.terminal import TerminalReport

        if self.json_lines:
            if sys.stdout is None:
                raise FakescanError("--json needs standard output, which is closed.")
            return [JsonLinesStream(sys.stdout.buffer)]
        return [] if self.reports or sys.stdout is None else [TerminalReport(OutputConsole())]

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
