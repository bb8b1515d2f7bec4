"""JSON: one object with the scan's settings, its findings and their summary."""

from __future__ import annotations

from pathlib import Path

from fakescan.records import SCHEMA_VERSION, Finding
from fakescan.reports.record import encode_json, replace_surrogates
from fakescan.reports.report import ReportHeader, TextReport
from fakescan.reports.summary import Summary


class JsonReport(TextReport):
    """`{schema_version, program, models, settings, findings, summary}`, one finding a line."""

    def __init__(self, path: Path, header: ReportHeader, summary: Summary) -> None:
        super().__init__(path, header, summary)
        self._separator = "\n"

    def begin(self) -> str:
        """The object up to the opening of its findings."""
        opening = {
            "schema_version": SCHEMA_VERSION,
            "program": self.header.program,
            "models": self.header.models,
            "settings": self.header.settings,
        }
        return encode_json(replace_surrogates(opening))[:-1] + ',"findings":['

    def format(self, finding: Finding, record: dict[str, object]) -> str:
        """The finding's record, after a comma where one is due."""
        separator, self._separator = self._separator, ",\n"
        return separator + encode_json(record)

    def end(self) -> str:
        """The rest of the object."""
        return f'\n],"summary":{encode_json(self.summary.to_record())}}}\n'
