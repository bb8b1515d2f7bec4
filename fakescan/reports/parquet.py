"""Parquet: the columns of the CSV report with their types, for data frames and databases."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fakescan.records import FakescanError, Finding, how_to_install
from fakescan.reports.record import COLUMNS, flatten
from fakescan.reports.report import ReportHeader, TextReport
from fakescan.reports.summary import Summary

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

ROW_GROUP_ROWS = 2_048
"""Findings a row group, and so in memory; a prompt may be 64 KiB."""

_TYPES = {
    "score": "float64",
    "has_gps": "bool",
    "width": "int64",
    "height": "int64",
    "orientation": "int64",
    "size_bytes": "int64",
    "model_logit": "float64",
    "model_threshold_real": "float64",
    "model_threshold_ai": "float64",
    "model_max_false_positive_rate": "float64",
    "schema_version": "int64",
}
"""Columns that are not text."""


def check_pyarrow() -> None:
    """Raise FakescanError where pyarrow, which writes Parquet, is not installed."""
    if find_spec("pyarrow") is None:
        raise FakescanError(f"Parquet needs pyarrow: {how_to_install('parquet')}")


class ParquetReport(TextReport):
    """A row for each finding, written in groups of `ROW_GROUP_ROWS`; text is exact."""

    def __init__(self, path: Path, header: ReportHeader, summary: Summary) -> None:
        check_pyarrow()
        super().__init__(path, header, summary)
        self._rows: list[dict[str, object]] = []
        self._writer: pyarrow.parquet.ParquetWriter | None = None

    def begin(self) -> str:
        """No text: pyarrow writes to the bytes under the text file, here and below."""
        return ""

    def format(self, finding: Finding, record: dict[str, object]) -> str:
        """No text; the row waits for its group."""
        self._rows.append(flatten(record))
        if len(self._rows) >= ROW_GROUP_ROWS:
            self._write_rows()
        return ""

    def end(self) -> str:
        """No text; the last group and the table's footer are written."""
        self._write_rows()
        assert self._writer is not None
        self._writer.close()
        return ""

    def _write_rows(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if self._writer is None:
            assert self._file is not None
            schema = pyarrow.schema(
                [
                    pyarrow.field(column, pyarrow.type_for_alias(_TYPES.get(column, "string")))
                    for column in COLUMNS
                ]
            )
            self._writer = pyarrow.parquet.ParquetWriter(
                self._file.buffer, schema, compression="zstd"
            )
        if self._rows:
            self._writer.write_table(
                pyarrow.Table.from_pylist(self._rows, schema=self._writer.schema)
            )
        self._rows.clear()

    def _discard(self) -> None:
        if self._writer is not None:
            # Otherwise it would close itself later, into a file that is no more.
            with suppress(OSError):
                self._writer.close()
            self._writer.is_open = False
        super()._discard()
