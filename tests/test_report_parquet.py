from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from fakescan.records import (
    FakescanError,
    Finding,
    JudgedModel,
    Measurement,
    ModelOutput,
    Provenance,
    Reason,
    Source,
    Status,
    Verdict,
)
from fakescan.reports import (
    ReportHeader,
    Summary,
    check_report_path,
    open_report,
    parquet,
    to_record,
)
from fakescan.reports.record import COLUMNS, flatten

pyarrow = pytest.importorskip("pyarrow")
pyarrow_parquet = pytest.importorskip("pyarrow.parquet")

HEADER = ReportHeader({}, (), {})
OUTPUT = ModelOutput("photo", "1.0.0", "51ab", "torch", "fp32", -0.35281234, ())
JUDGED = Finding(
    source=Source("=photos/0412.png", 1480233, 1772446544_000_000_000),
    measurement=Measurement(
        status=Status.OK,
        provenance=Provenance(prompt="a\0b" * 200, has_gps=True),
        outputs=(OUTPUT,),
        sha256="9f2c",
        media_type="image/png",
        width=1024,
        height=768,
        orientation=1,
    ),
    verdict=Verdict.AI,
    score=0.9127,
    reason=Reason.SCORE_ABOVE_THRESHOLD,
    decided_by="model",
    hints="",
    model=JudgedModel(OUTPUT, 0.181, 0.842, 0.01),
)
MISSING = Finding(
    Source("gone\udcff.jpg"), Measurement(Status.NOT_FOUND), None, None, None, None, "", None
)


def write_report(path: Path, findings: list[Finding]) -> Path:
    summary = Summary()
    with open_report(path, HEADER, summary) as report:
        for finding in findings:
            report.write(finding, to_record(finding))
    return path


def test_columns_types_and_values(tmp_path: Path) -> None:
    table = pyarrow_parquet.read_table(write_report(tmp_path / "a.parquet", [JUDGED, MISSING]))
    assert tuple(table.column_names) == COLUMNS
    types = {field.name: str(field.type) for field in table.schema}
    assert types["path"] == types["modified_at"] == types["reason"] == "string"
    assert types["has_gps"] == "bool"
    for column in ("score", "model_logit", "model_threshold_ai", "model_max_false_positive_rate"):
        assert types[column] == "double"
    for column in ("width", "size_bytes", "orientation", "schema_version"):
        assert types[column] == "int64"
    # Exact: no apostrophe, nothing cut, and null where nothing is known.
    assert table.to_pylist() == [flatten(to_record(JUDGED)), flatten(to_record(MISSING))]
    assert table["path"].to_pylist()[0].startswith("=")
    assert table["score"].to_pylist() == [0.9127, None]


def test_no_findings_give_an_empty_table(tmp_path: Path) -> None:
    table = pyarrow_parquet.read_table(write_report(tmp_path / "a.parquet", []))
    assert tuple(table.column_names) == COLUMNS and table.num_rows == 0


def test_rows_stream_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 3)
    findings = [replace(JUDGED, source=Source(f"{number}.png")) for number in range(7)]
    file = pyarrow_parquet.ParquetFile(write_report(tmp_path / "a.parquet", findings))
    groups = [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
    assert groups == [3, 3, 1]
    assert file.read()["path"].to_pylist() == [f"{number}.png" for number in range(7)]


def test_same_findings_same_bytes(tmp_path: Path) -> None:
    one = write_report(tmp_path / "1.parquet", [JUDGED, MISSING])
    other = write_report(tmp_path / "2.parquet", [JUDGED, MISSING])
    assert one.read_bytes() == other.read_bytes()


def test_an_exception_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with (
            pytest.raises(KeyboardInterrupt),
            open_report(tmp_path / "a.parquet", HEADER, Summary()) as report,
        ):
            report.write(JUDGED, to_record(JUDGED))
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_missing_pyarrow_is_told_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    with pytest.raises(FakescanError, match=r"pip install '\.\[parquet\]'") as caught:
        check_report_path(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)
    check_report_path(tmp_path / "a.csv")
