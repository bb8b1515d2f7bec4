"""What a person sees on the terminal: the flagged files, and the scan in a line or two."""

from __future__ import annotations

import heapq
import re
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fakescan.records import Finding, Reason, Status, Verdict
from fakescan.reports.summary import Summary

ROWS = 50
"""How many flagged files the table shows."""

# Control characters can rewrite a terminal, bidirectional ones the order of what is read.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_VERDICT_WORDS = {
    Verdict.AI: "AI",
    Verdict.AI_EDIT: "edited with AI",
    Verdict.REAL: "no sign of AI",
    Verdict.UNCERTAIN: "uncertain",
}
_SUREST_FIRST = {reason: rank for rank, reason in enumerate(Reason)}

_Row = tuple[str, str, str, str, str]


class TerminalReport:
    """A table of the files found to be AI or edited with AI, worst first.

    AI stands before edits, proofs before declarations before scores, higher scores first; files
    alike in all stay in the order found. No more than `ROWS` findings are kept.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._flagged = 0
        self._worst: list[tuple[tuple[bool, int, float, int], _Row]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None and self._flagged:
            self._print()

    def write(self, finding: Finding, record: dict[str, object]) -> None:
        """Keep the finding if it is among the worst so far."""
        verdict, reason = finding.verdict, finding.reason
        if verdict not in (Verdict.AI, Verdict.AI_EDIT) or reason is None:
            return
        self._flagged += 1
        score = finding.score
        row = (
            str(record["path"]),
            _VERDICT_WORDS[verdict],
            "" if score is None else f"{score:.4f}",
            reason.sentence,
            finding.hints,
        )
        badness = (
            verdict is Verdict.AI,
            -_SUREST_FIRST[reason],
            -1.0 if score is None else score,
            -self._flagged,
        )
        if len(self._worst) < ROWS:
            heapq.heappush(self._worst, (badness, row))
        else:
            heapq.heappushpop(self._worst, (badness, row))

    def _print(self) -> None:
        table = Table()
        table.add_column("path", overflow="fold")
        table.add_column("verdict")
        table.add_column("score", justify="right")
        table.add_column("reason")
        table.add_column("hints", overflow="fold")
        for _, row in sorted(self._worst, reverse=True):
            table.add_row(*(Text(make_printable(cell)) for cell in row))
        self._console.print(table)
        if self._flagged > ROWS:
            more = f"{self._flagged - ROWS:,} more; --report FILE lists them all."
            self._console.print(more, highlight=False)


def print_summary(summary: Summary, console: Console) -> None:
    """Print the scan's counts in a line, and more if files were unreadable or no images."""
    if not summary.files:
        lines = ["No images found."]
    else:
        counts = (
            f"{summary.verdicts[verdict]:,} {word}" for verdict, word in _VERDICT_WORDS.items()
        )
        lines = [f"{_count_files(summary.files)}: {', '.join(counts)}."]
    rest = []
    if summary.unreadable:
        statuses = ", ".join(
            f"{summary.statuses[status]:,} {status.value}"
            for status in Status
            if status is not Status.OK and summary.statuses[status]
        )
        rest.append(f"{_count_files(summary.unreadable)} unreadable ({statuses})")
    if summary.other_files:
        rest.append(f"{_count_files(summary.other_files)} skipped, not images")
    if rest:
        lines.append(f"{'; '.join(rest)}.")
    lines += (
        f"  {make_printable(path)}: {status.sentence}" for path, status in summary.unreadable_paths
    )
    if (more := summary.unreadable - len(summary.unreadable_paths)) > 0:
        lines.append(f"  and {more:,} more; --report FILE lists them all.")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def make_printable(text: str) -> str:
    """The text with U+FFFD for characters that would act on a terminal instead of showing."""
    return _UNSAFE.sub("\ufffd", text)


def _count_files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"
