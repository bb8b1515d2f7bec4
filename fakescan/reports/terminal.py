"""What a person sees on the terminal: the flagged files, and the scan in a line or two."""

from __future__ import annotations

import heapq
import re
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fakescan.records import Finding, Reason, Status, Verdict
from fakescan.reports.summary import Summary

ROWS = 50
"""How many files the table shows at most."""

FEW = 10
"""Up to so many files, the table shows each that was judged, flagged or not."""

# Control characters can rewrite a terminal, bidirectional ones the order of what is read, and
# those without width make two names look alike.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff]"
)

_VERDICT_WORDS = {
    Verdict.AI: "AI",
    Verdict.AI_EDIT: "edited with AI",
    Verdict.REAL: "no sign of AI",
    Verdict.UNCERTAIN: "uncertain",
}
_STYLES = {Verdict.AI: "bold red", Verdict.AI_EDIT: "bold yellow"}
_MILDEST_FIRST = (Verdict.REAL, Verdict.UNCERTAIN, Verdict.AI_EDIT, Verdict.AI)
_SUREST_FIRST = {reason: rank for rank, reason in enumerate(Reason)}


class TerminalReport:
    """A table of the files found to be AI or edited with AI, worst first.

    AI stands before edits, proofs before declarations before scores, higher scores first; files
    alike in all stay in the order found. A scan of `FEW` files at most is an answer on each, so
    those not flagged follow. No more than `ROWS` findings are kept.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._judged = 0
        self._flagged = 0
        self._worst: list[tuple[tuple[int, int, float, int], Verdict, str, Text]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shown = self._judged if self._judged <= FEW else self._flagged
        if kind is None and shown:
            self._print(shown)

    def write(self, finding: Finding, record: dict[str, object]) -> None:
        """Keep the finding if it is among the worst so far."""
        verdict, reason, score = finding.verdict, finding.reason, finding.score
        if verdict is None or reason is None:
            return
        self._judged += 1
        self._flagged += verdict in _STYLES
        badness = (
            _MILDEST_FIRST.index(verdict),
            -_SUREST_FIRST[reason],
            -1.0 if score is None else score,
            -self._judged,
        )
        if len(self._worst) == ROWS and badness < self._worst[0][0]:
            return
        shown_score = "" if score is None else f"{score:.4f}"
        row = (badness, verdict, shown_score, _describe(finding, str(record["path"]), reason))
        if len(self._worst) < ROWS:
            heapq.heappush(self._worst, row)
        else:
            heapq.heappushpop(self._worst, row)

    def _print(self, shown: int) -> None:
        table = Table(box=SIMPLE_HEAD, leading=1)
        table.add_column("verdict", no_wrap=True)
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("file, and why", overflow="fold")
        for _, verdict, score, file in sorted(self._worst, reverse=True)[:shown]:
            word = Text(_VERDICT_WORDS[verdict], style=_STYLES.get(verdict, ""))
            table.add_row(word, score, file)
        self._console.print(table)
        if shown > ROWS:
            more = f"{shown - ROWS:,} more; --report FILE lists them all."
            self._console.print(more, highlight=False)


def _describe(finding: Finding, path: str, reason: Reason) -> Text:
    lines = [(make_printable(path), "bold"), (f"\n{reason.sentence}", "")]
    if finding.hints:
        lines.append((f"\n{make_printable(finding.hints)}", "dim"))
    return Text.assemble(*lines)


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
