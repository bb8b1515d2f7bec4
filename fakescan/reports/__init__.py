"""Reports: what a scan writes, one module a format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fakescan.records import FakescanError
from fakescan.reports.csv import CsvReport
from fakescan.reports.html import HtmlReport
from fakescan.reports.json import JsonReport
from fakescan.reports.jsonl import JsonLinesReport
from fakescan.reports.parquet import ParquetReport, check_pyarrow
from fakescan.reports.record import to_record
from fakescan.reports.report import Report, ReportHeader
from fakescan.reports.summary import Summary
from fakescan.sources.temporaries import LONGEST_NAME

__all__ = [
    "REPORT_FORMATS",
    "Report",
    "ReportHeader",
    "Summary",
    "check_report_path",
    "open_report",
    "to_record",
]

ReportFormat = Callable[[Path, ReportHeader, Summary], Report]

REPORT_FORMATS: dict[str, ReportFormat] = {
    ".csv": CsvReport,
    ".json": JsonReport,
    ".jsonl": JsonLinesReport,
    ".html": HtmlReport,
    ".parquet": ParquetReport,
}
"""The formats by the suffix of a report's name."""


def open_report(path: Path, header: ReportHeader, summary: Summary) -> Report:
    """The report that the path's suffix asks for; entering it creates its file.

    `summary` counts the same findings, which the caller adds to it; a report that ends with it
    reads it when left. Raises FakescanError for a suffix that no format has.
    """
    return _find_format(path)(path, header, summary)


def check_report_path(path: Path) -> None:
    """Raise FakescanError if no report could be written there, before a long scan finds out."""
    if _find_format(path) is ParquetReport:
        check_pyarrow()
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    is_there = os.path.exists(target)
    if os.path.isdir(target):
        raise FakescanError(f"The report {path} is a folder; name a file in it.")
    if not os.path.isdir(folder):
        raise FakescanError(f"The report's folder {path.parent} doesn't exist; create it first.")
    if is_there and not os.path.isfile(target):
        raise FakescanError(f"The report {path} is a pipe or device; name a regular file.")
    if len(os.path.basename(os.fsencode(target))) > LONGEST_NAME:
        raise FakescanError(f"The report {path} can't be written; its name is too long.")
    places = [folder, target] if is_there else [folder]
    if not all(os.access(place, os.W_OK) for place in places):
        raise FakescanError(f"The report {path} can't be written; its place is read-only.")


def _find_format(path: Path) -> ReportFormat:
    report_format = REPORT_FORMATS.get(path.suffix.lower())
    if report_format is None:
        known = ", ".join(REPORT_FORMATS)
        raise FakescanError(f"The report {path} needs one of the suffixes {known}.")
    return report_format
