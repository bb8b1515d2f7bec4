"""CSV: one row a finding, RFC 4180, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io

from fakescan.records import Finding
from fakescan.reports.record import COLUMNS, to_columns
from fakescan.reports.report import TextReport


class CsvReport(TextReport):
    """A header line and a row for each finding."""

    def begin(self) -> str:
        """The names of the columns."""
        return _format_row(list(COLUMNS))

    def format(self, finding: Finding, record: dict[str, object]) -> str:
        """The finding's row."""
        return _format_row(to_columns(record))

    def end(self) -> str:
        """Nothing: a table has no room for a summary."""
        return ""


def _format_row(cells: list[str]) -> str:
    row = io.StringIO(newline="")
    # Spreadsheets of many countries part cells at semicolons too.
    has_semicolon = any(";" in cell for cell in cells)
    csv.writer(row, quoting=csv.QUOTE_ALL if has_semicolon else csv.QUOTE_MINIMAL).writerow(cells)
    return row.getvalue()
