"""What a whole scan found, in numbers."""

from __future__ import annotations

from collections import Counter

from fakescan.records import Finding, Status, Verdict

NAMED = 5
"""How many unreadable files a summary names."""


class Summary:
    """Counts of a scan's findings. `other_files` are the files that were no images; set it.

    `unreadable_paths` are the first `NAMED` whose status is not ok, each with its status.
    """

    def __init__(self) -> None:
        self.other_files = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.statuses: Counter[Status] = Counter()
        self.unreadable_paths: list[tuple[str, Status]] = []

    def add(self, finding: Finding) -> None:
        """Count one finding."""
        self.statuses[finding.status] += 1
        if finding.verdict is not None:
            self.verdicts[finding.verdict] += 1
        if finding.status is not Status.OK and len(self.unreadable_paths) < NAMED:
            self.unreadable_paths.append((finding.source.path, finding.status))

    @property
    def files(self) -> int:
        """The findings counted."""
        return self.statuses.total()

    @property
    def unreadable(self) -> int:
        """The findings whose status is not ok."""
        return self.files - self.statuses[Status.OK]

    def to_record(self) -> dict[str, object]:
        """The counts as a JSON object; every verdict and status is there, with 0 if none was."""
        return {
            "files": self.files,
            "verdicts": {verdict.value: self.verdicts[verdict] for verdict in Verdict},
            "statuses": {status.value: self.statuses[status] for status in Status},
            "other_files": self.other_files,
        }
