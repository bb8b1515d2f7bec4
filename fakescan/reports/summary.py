"""What a whole scan found, in numbers."""

from __future__ import annotations

from collections import Counter

from fakescan.records import Finding, Status, Verdict


class Summary:
    """Counts of a scan's findings. `other_files` are the files that were no images; set it."""

    def __init__(self) -> None:
        self.other_files = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.statuses: Counter[Status] = Counter()

    def add(self, finding: Finding) -> None:
        """Count one finding."""
        self.statuses[finding.status] += 1
        if finding.verdict is not None:
            self.verdicts[finding.verdict] += 1

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
