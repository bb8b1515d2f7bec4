from __future__ import annotations

import base64
import csv
import gc
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import jq
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fakescan.records import (
    Credential,
    Crop,
    Evidence,
    FakescanError,
    Finding,
    JudgedModel,
    Measurement,
    MetadataStatus,
    ModelOutput,
    Provenance,
    Reason,
    Says,
    Source,
    Status,
    Tier,
    Verdict,
)
from fakescan.reports import (
    REPORT_FORMATS,
    ReportHeader,
    Summary,
    check_report_path,
    open_report,
    to_record,
)
from fakescan.reports.csv import CsvReport
from fakescan.reports.jsonl import JsonLinesStream
from fakescan.reports.record import COLUMNS, encode_json, flatten, to_columns
from fakescan.reports.terminal import FEW, ROWS, TerminalReport, make_printable, print_summary

HEADER = ReportHeader(
    program={"name": "fakescan", "version": "0.1.0"},
    models=({"name": "photo", "version": "1.0.0"},),
    settings={"max_false_positive_rate": 0.01, "paths": ["photos", "\udcff"]},
)

JUDGED = Finding(
    source=Source("photos/in/0412.png", 1480233, 1772446544_999_999_999),
    measurement=Measurement(
        status=Status.OK,
        provenance=Provenance(
            evidence=(
                Evidence(
                    signal="png_text",
                    rule="a1111-parameters",
                    says=Says.AI,
                    tier=Tier.STRONG,
                    source="Stable Diffusion web UI",
                    location="PNG:tEXt:parameters",
                    offset=41,
                    value="Steps: 28, Sampler: DPM++ 2M, CFG scale: 7",
                ),
            ),
            generator="Stable Diffusion web UI",
            generator_version="v1.10.1",
            prompt="a harbour at dusk",
        ),
        outputs=(
            ModelOutput(
                name="photo",
                version="1.0.0",
                sha256="51ab",
                backend="torch",
                precision="fp32",
                logit=-0.35281234,
                crops=(Crop(384, 128, 128, -0.21000001), Crop(0, 640, 128, -0.4956)),
            ),
        ),
        sha256="9f2c",
        media_type="image/png",
        width=1024,
        height=768,
        orientation=1,
    ),
    verdict=Verdict.AI,
    score=0.4127,
    reason=Reason.DECLARED_AI,
    decided_by="png_text",
    hints="Generation settings of Stable Diffusion web UI; unsigned, easy to forge.",
    model=None,
    overlay="overlays/0412-9f2c1b7a04de.png",
)
JUDGED = replace(JUDGED, model=JudgedModel(JUDGED.measurement.outputs[0], 0.181, 0.842, 0.01))

MISSING = Finding(
    source=Source("gone.jpg"),
    measurement=Measurement(Status.NOT_FOUND, Provenance(MetadataStatus.UNREAD)),
    verdict=None,
    score=None,
    reason=None,
    decided_by=None,
    hints="",
    model=None,
)

ODD_NAMES = [
    b"two\nlines.png",
    b"carriage\rreturn.png",
    b'"quoted", with comma.png',
    b"=cmd|' /C calc'!A0.png",
    b"+1.png",
    b"-1.png",
    b"@sum.png",
    b"\ttab.png",
    b"\rreturn first.png",
    b"caf\xe9\xff.png",
    "日本語 \u202e.png".encode(),
]


def named(finding: Finding, name: bytes) -> Finding:
    return replace(finding, source=replace(finding.source, path=os.fsdecode(name)))


def with_provenance(finding: Finding, provenance: Provenance) -> Finding:
    return replace(finding, measurement=replace(finding.measurement, provenance=provenance))


def write_report(path: Path, findings: list[Finding], other_files: int = 0) -> Path:
    summary = Summary()
    summary.other_files = other_files
    with open_report(path, HEADER, summary) as report:
        for finding in findings:
            summary.add(finding)
            report.write(finding, to_record(finding))
    return path


def cells_of(finding: Finding) -> dict[str, str]:
    return dict(zip(COLUMNS, to_columns(to_record(finding)), strict=True))


# The record


def test_record_is_schema_version_1() -> None:
    expected = """{"schema_version":1,"path":"photos/in/0412.png","path_base64":null,\
"status":"ok","metadata_status":"ok","verdict":"ai","score":0.4127,"reason":"declared_ai",\
"decided_by":"png_text","generator":"Stable Diffusion web UI","generator_version":"v1.10.1",\
"prompt":"a harbour at dusk","digital_source_type":null,"credential":null,"camera_make":null,\
"camera_model":null,"lens_model":null,"date_time_original":null,"software":null,"has_gps":false,\
"hints":"Generation settings of Stable Diffusion web UI; unsigned, easy to forge.",\
"media_type":"image/png","width":1024,"height":768,"orientation":1,"size_bytes":1480233,\
"modified_at":"2026-03-02T10:15:44Z","sha256":"9f2c","model":{"name":"photo","version":"1.0.0",\
"sha256":"51ab","backend":"torch","precision":"fp32","logit":-0.3528,"threshold_real":0.181,\
"threshold_ai":0.842,"max_false_positive_rate":0.01,"crops":[{"x":384,"y":128,"size":128,\
"logit":-0.21},{"x":0,"y":640,"size":128,"logit":-0.4956}]},"evidence":[{"signal":"png_text",\
"rule":"a1111-parameters","says":"ai","tier":"strong","source":"Stable Diffusion web UI",\
"location":"PNG:tEXt:parameters","offset":41,\
"value":"Steps: 28, Sampler: DPM++ 2M, CFG scale: 7"}],\
"overlay":"overlays/0412-9f2c1b7a04de.png","models":null}"""
    assert encode_json(to_record(JUDGED)) == expected


def test_record_of_an_unread_file_has_every_key() -> None:
    record = to_record(MISSING)
    assert list(record) == list(to_record(JUDGED))
    filled = {key: value for key, value in record.items() if value is not None}
    assert filled == {
        "schema_version": 1,
        "path": "gone.jpg",
        "status": "not_found",
        "metadata_status": "unread",
        "has_gps": False,
        "hints": "",
        "evidence": [],
    }


def test_record_holds_the_credential() -> None:
    credential = Credential("Trusted", ("a.b",), "Leica", "M11", "digitalCapture", (), "2026-01-01")
    finding = with_provenance(JUDGED, Provenance(credential=credential))
    assert to_record(finding)["credential"] == {
        "validation_state": "Trusted",
        "failure_codes": ["a.b"],
        "signer": "Leica",
        "claim_generator": "M11",
        "digital_source_type": "digitalCapture",
        "actions": [],
        "trust_list_date": "2026-01-01",
    }
    cells = cells_of(finding)
    assert cells["credential_validation_state"] == "Trusted"
    assert cells["credential_signer"] == "Leica"


@pytest.mark.parametrize(
    ("modified_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (10**9 * -62_135_596_800, "0001-01-01T00:00:00Z"),
        (10**9 * 253_402_300_800, None),  # year 10000
        (None, None),
    ],
)
def test_modified_at(modified_ns: int | None, expected: str | None) -> None:
    finding = replace(MISSING, source=Source("a", 1, modified_ns))
    assert to_record(finding)["modified_at"] == expected


def test_name_that_is_not_utf8() -> None:
    record = to_record(named(MISSING, b"caf\xe9/\xff.png"))
    assert record["path"] == "caf\ufffd/\ufffd.png"
    assert base64.b64decode(str(record["path_base64"])) == b"caf\xe9/\xff.png"


def test_surrogates_never_reach_json() -> None:
    evidence = replace(JUDGED.measurement.provenance.evidence[0], value="\ud83d")
    credential = Credential("Invalid", ("\udc00",), None, None, None, (), "2026-01-01")
    finding = with_provenance(
        JUDGED, Provenance(prompt="a\ud800b", evidence=(evidence,), credential=credential)
    )
    record = json.loads(encode_json(to_record(finding)).encode())
    assert record["prompt"] == "a\ufffdb"
    assert record["evidence"][0]["value"] == "\ufffd"
    assert record["credential"]["failure_codes"] == ["\ufffd"]


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_json_lacks_are_null(number: float) -> None:
    assert JUDGED.model is not None
    output = replace(JUDGED.model.output, logit=number, crops=(Crop(0, 0, 32, number),))
    finding = replace(JUDGED, score=number, model=replace(JUDGED.model, output=output))
    record = json.loads(encode_json(to_record(finding)))
    assert record["score"] is None
    assert record["model"]["logit"] is None
    assert record["model"]["crops"][0]["logit"] is None


# CSV's cells


def test_columns_are_schema_version_1() -> None:
    assert ", ".join(COLUMNS) == (
        "path, verdict, score, reason, decided_by, status, metadata_status, generator,"
        " generator_version, digital_source_type, credential_validation_state, credential_signer,"
        " camera_make, camera_model, lens_model, date_time_original, software, has_gps, hints,"
        " prompt, media_type, width, height, orientation, size_bytes, modified_at, sha256,"
        " model_name, model_version, model_sha256, model_backend, model_precision, model_logit,"
        " model_threshold_real, model_threshold_ai, model_max_false_positive_rate, overlay,"
        " path_base64, schema_version"
    )


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_formulas_are_disarmed(start: str) -> None:
    text = f"{start}1+1"
    provenance = Provenance(prompt=text, camera_make=text, software=text, generator=f"\x00{text}")
    finding = replace(with_provenance(JUDGED, provenance), source=Source(text), hints=text)
    cells = cells_of(finding)
    shown = "1+1" if start in "\t\r" else f"'{text}"
    assert cells["path"] == f"./{text}"
    for column in ("prompt", "camera_make", "software", "generator", "hints"):
        assert cells[column] == shown
    assert cells["model_logit"] == "-0.3528"
    record = to_record(finding)
    assert record["path"] == record["prompt"] == record["camera_make"] == text


def test_the_bytes_of_a_name_are_no_formula_and_can_be_decoded() -> None:
    finding = replace(JUDGED, source=Source(os.fsdecode(b"\xf8\xff\xff.png")))
    record = to_record(finding)
    assert base64.b64decode(str(record["path_base64"])) == b"\xf8\xff\xff.png"
    assert str(record["path_base64"]).startswith("+")
    cell = cells_of(finding)["path_base64"]
    assert base64.b64decode(cell, validate=True) == b"./\xf8\xff\xff.png"
    other = replace(JUDGED, source=Source(os.fsdecode(b"a\xff+.png")))
    assert cells_of(other)["path_base64"] == to_record(other)["path_base64"]


def test_prompt_is_cut_after_its_controls_are_removed() -> None:
    prompt = "line\n\x00\x1b[31m\x85" + "é" * 300
    finding = with_provenance(JUDGED, Provenance(prompt=prompt))
    assert cells_of(finding)["prompt"] == "line[31m" + "é" * 192
    assert to_record(finding)["prompt"] == prompt


def test_cells_of_numbers_and_booleans() -> None:
    cells = cells_of(with_provenance(replace(JUDGED, score=0.5), Provenance(has_gps=True)))
    assert (cells["score"], cells["has_gps"], cells["width"]) == ("0.5000", "true", "1024")
    assert cells["model_max_false_positive_rate"] == "0.01"
    assert cells_of(MISSING)["has_gps"] == "false"


# Properties

any_text = st.text(st.characters(exclude_categories=()), max_size=30)
paths = st.binary(min_size=1, max_size=30).map(os.fsdecode)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    text = st.none() | any_text
    provenance = Provenance(
        generator=draw(text),
        prompt=draw(text),
        camera_make=draw(text),
        software=draw(text),
        has_gps=draw(st.booleans()),
    )
    return replace(
        with_provenance(draw(st.sampled_from([JUDGED, MISSING])), provenance),
        source=Source(
            draw(paths), draw(st.none() | st.integers(0)), draw(st.none() | st.integers())
        ),
        score=draw(st.none() | st.floats(0, 1)),
        hints=draw(any_text),
    )


@given(findings())
def test_json_round_trips(finding: Finding) -> None:
    record = to_record(finding)
    line = encode_json(record).encode()
    assert b"\n" not in line
    assert json.loads(line) == record
    raw = base64.b64decode(str(record["path_base64"] or ""))
    assert (raw or str(record["path"]).encode()) == os.fsencode(finding.source.path)


@given(findings())
def test_csv_parses_back_and_holds_no_formula(finding: Finding) -> None:
    record = to_record(finding)
    line = CsvReport(Path("a.csv"), HEADER, Summary()).format(finding, record)
    assert list(csv.reader(io.StringIO(line, newline=""), strict=True)) == [to_columns(record)]
    numbers = {column for column, value in flatten(record).items() if isinstance(value, float)}
    for column, cell in zip(COLUMNS, to_columns(record), strict=True):
        assert column in numbers or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        # Nor in a cell that a spreadsheet parts at semicolons.
        assert column in {"path", "overlay"} or not re.search(";[=+@-]", cell)
    assert ";" not in line or line.startswith('"')


# Files, opened by others


def test_csv_in_pandas(tmp_path: Path) -> None:
    odd = [named(MISSING, name) for name in ODD_NAMES]
    table = pandas.read_csv(write_report(tmp_path / "out.csv", [JUDGED, MISSING, *odd]))
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 2 + len(odd)
    first = table.iloc[0]
    assert first["score"] == 0.4127 and first["model_logit"] == -0.3528
    assert first["width"] == 1024 and first["sha256"] == "9f2c"
    assert table["score"].dtype == "float64" and table["has_gps"].dtype == "bool"
    assert table["schema_version"].dtype == "int64"
    assert table.iloc[1].drop(["path", "status", "metadata_status", "has_gps"]).isna().sum() == 34
    assert table["path"][2] == "two\nlines.png"
    assert table["path"][3] == "carriage\rreturn.png"
    assert table["path"][5] == "./=cmd|' /C calc'!A0.png"
    row = table[table["path_base64"].notna()].iloc[0]
    assert base64.b64decode(row["path_base64"]) == b"caf\xe9\xff.png"


def test_csv_in_duckdb(tmp_path: Path) -> None:
    odd = [named(MISSING, name) for name in ODD_NAMES]
    path = write_report(tmp_path / "out.csv", [JUDGED, MISSING, *odd])
    table = duckdb.from_csv_auto(str(path))
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    assert tuple(table.columns) == COLUMNS
    assert (types["score"], types["has_gps"], types["width"]) == ("DOUBLE", "BOOLEAN", "BIGINT")
    assert types["modified_at"].startswith("TIMESTAMP")
    rows = table.project("path, score, verdict, has_gps").fetchall()
    assert rows[0] == ("photos/in/0412.png", 0.4127, "ai", False)
    assert rows[1] == ("gone.jpg", None, None, False)
    assert rows[2][0] == "two\nlines.png"
    assert len(rows) == 2 + len(odd)


def test_csv_bytes(tmp_path: Path) -> None:
    data = write_report(tmp_path / "out.csv", [named(MISSING, "é,\n".encode())]).read_bytes()
    assert data.startswith(b"path,verdict,")
    assert data.endswith(b",,1\r\n")
    assert '\r\n"é,\n",,'.encode() in data


def test_json_in_jq(tmp_path: Path) -> None:
    odd = [named(MISSING, name) for name in ODD_NAMES]
    text = write_report(tmp_path / "out.json", [JUDGED, *odd], other_files=7).read_text("utf-8")

    def ask(program: str) -> Any:
        return jq.compile(program).input_text(text).first()

    assert ask("keys_unsorted") == [
        "schema_version",
        "program",
        "models",
        "settings",
        "findings",
        "summary",
    ]
    assert ask(".findings | length") == 1 + len(odd)
    assert ask(".findings[0].model.crops[1].logit") == -0.4956
    assert ask(".findings[1].path") == "two\nlines.png"
    assert ask(".findings[4].path") == "=cmd|' /C calc'!A0.png"
    assert ask(".settings.paths") == ["photos", "\ufffd"]
    assert ask(".program") == HEADER.program and ask(".models[0].name") == "photo"
    assert ask("[.summary.files, .summary.other_files]") == [1 + len(odd), 7]
    assert ask("[.summary.verdicts.ai, .summary.verdicts.real]") == [1, 0]
    assert ask(".summary.statuses.not_found") == len(odd)


def test_json_without_findings(tmp_path: Path) -> None:
    report = json.loads(write_report(tmp_path / "out.json", []).read_text())
    assert report["findings"] == [] and report["summary"]["files"] == 0


def test_json_lines_in_duckdb_pandas_and_jq(tmp_path: Path) -> None:
    path = write_report(tmp_path / "out.jsonl", [JUDGED, MISSING, named(MISSING, b"\n\xff")])
    rows = duckdb.read_json(str(path)).project("path, score, model.logit").fetchall()
    assert rows[:2] == [("photos/in/0412.png", 0.4127, -0.3528), ("gone.jpg", None, None)]
    table = pandas.read_json(path, lines=True)
    assert list(table["status"]) == ["ok", "not_found", "not_found"]
    assert table["width"][0] == 1024 and pandas.isna(table["width"][1])
    names = jq.compile(".path").input_text(path.read_text("utf-8")).all()
    assert names == ["photos/in/0412.png", "gone.jpg", "\n\ufffd"]


# Writing


@pytest.mark.parametrize("suffix", REPORT_FORMATS)
def test_exception_leaves_the_old_report(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), open_report(path, HEADER, Summary()) as report:
        report.write(JUDGED, to_record(JUDGED))
        assert len(list(tmp_path.iterdir())) == 2
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_report_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    target = tmp_path / "real.csv"
    target.write_text("old")
    (tmp_path / "link.csv").symlink_to(target)
    write_report(tmp_path / "link.csv", [])
    assert (tmp_path / "link.csv").is_symlink()
    assert target.read_text().startswith("path,")


def test_a_report_keeps_the_permissions_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.touch()
    path.chmod(0o640)
    with open_report(path, HEADER, Summary()):
        (temporary,) = tmp_path.glob(".out.csv.tmp-*")
        assert temporary.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_text().startswith("path,")


def test_a_report_may_have_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / f"{'ä' * 125}x.csv"
    check_report_path(path)
    write_report(path, [])
    assert list(tmp_path.iterdir()) == [path]


def test_kill_leaves_no_half_report(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    program = """
import sys
from pathlib import Path
from fakescan.records import Finding, Measurement, Source, Status
from fakescan.reports import ReportHeader, Summary, open_report, to_record
finding = Finding(Source("a"), Measurement(Status.EMPTY), None, None, None, None, "", None)
with open_report(Path(sys.argv[1]), ReportHeader({}, (), {}), Summary()) as report:
    for number in range(10**9):
        report.write(finding, to_record(finding))
        if number == 1000:
            print("writing", flush=True)
"""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


@pytest.mark.parametrize("suffix", REPORT_FORMATS)
@pytest.mark.parametrize("count", [1, 100])  # found full when closing, and while writing
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, count: int
) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")

    def open_full(name: Path, mode: str, **options: Any) -> Any:
        Path(name).touch()
        return open("/dev/full", "w", **options)

    monkeypatch.setattr("fakescan.reports.report.open", open_full, raising=False)
    with pytest.raises(FakescanError, match=rf"out\{suffix} can't be written: No space left"):
        write_report(path, [JUDGED] * count)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_large_header_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_full(name: Path, mode: str, **options: Any) -> Any:
        Path(name).touch()
        return open("/dev/full", "w", **options)

    monkeypatch.setattr("fakescan.reports.report.open", open_full, raising=False)
    header = replace(HEADER, settings={"long": "x" * 100_000})
    with (
        pytest.raises(FakescanError, match="No space left"),
        open_report(tmp_path / "out.json", header, Summary()),
    ):
        pytest.fail("nothing is written after a failed beginning")
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_findings(tmp_path: Path) -> None:
    summary = Summary()
    tracemalloc.start()
    try:
        with (
            open_report(tmp_path / "out.json", HEADER, summary) as report,
            TerminalReport(Console(file=io.StringIO())) as terminal,
        ):
            for number in range(400):
                finding = named(JUDGED, b"%d.png" % number)
                summary.add(finding)
                record = to_record(finding)
                report.write(finding, record)
                terminal.write(finding, record)
                if number == 100:
                    gc.collect()
                    early = tracemalloc.get_traced_memory()[0]
            gc.collect()
            late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late - early < 100_000  # 300 records take about 1 MB


def path_of(make: Callable[[Path], None], name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        make(folder)
        return folder / name

    return build


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (path_of(lambda folder: None, "out.txt"), r"suffixes \.csv, \.json, \.jsonl"),
        (path_of(lambda folder: None, "csv"), r"suffixes \.csv"),
        (path_of(lambda folder: None, "no/out.csv"), "doesn't exist"),
        (path_of(lambda folder: (folder / "a").touch(), "a/out.csv"), "doesn't exist"),
        (path_of(lambda folder: (folder / "a.csv").mkdir(), "a.csv"), "is a folder"),
        (path_of(lambda folder: os.mkfifo(folder / "a.csv"), "a.csv"), "pipe or device"),
        (path_of(lambda folder: None, "a" * 252 + ".csv"), "name is too long"),
        (path_of(lambda folder: None, "a" * 256 + "/a.csv"), "doesn't exist"),
    ],
)
def test_report_paths_are_checked(
    tmp_path: Path, build: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(FakescanError, match=message) as caught:
        check_report_path(build(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "out.csv"])
def test_read_only_places_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "out.csv").touch()
    # Root may write anywhere, so the system's answer is made up.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path / name)
    with pytest.raises(FakescanError, match="read-only"):
        check_report_path(tmp_path / "out.csv")


def test_good_report_paths_pass(tmp_path: Path) -> None:
    check_report_path(tmp_path / "out.CSV")
    (tmp_path / "old.json").touch()
    check_report_path(tmp_path / "old.json")


def test_report_in_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(FakescanError, match="No such file"),
        open_report(tmp_path / "no" / "out.csv", HEADER, Summary()),
    ):
        pytest.fail("it can't be entered")


# The stream


def test_stream_flushes_each_line() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stream, JsonLinesStream(stream) as report:
        report.write(MISSING, to_record(MISSING))
        assert json.loads(os.read(reading, 65536)) == to_record(MISSING)
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            report.write(MISSING, to_record(MISSING))
        stream.raw.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_stream_on_a_full_disk() -> None:
    with (
        open("/dev/full", "wb", buffering=0) as stream,
        pytest.raises(FakescanError, match="No space left"),
    ):
        JsonLinesStream(stream).write(MISSING, to_record(MISSING))


# The terminal


def show(flagged: list[Finding]) -> str:
    output = io.StringIO()
    with TerminalReport(Console(file=output, width=200, force_terminal=True)) as report:
        for finding in flagged:
            report.write(finding, to_record(finding))
    return output.getvalue()


def test_table_lists_flagged_files_worst_first() -> None:
    scored = replace(JUDGED, reason=Reason.SCORE_ABOVE_THRESHOLD, decided_by="model")
    text = show(
        [
            named(replace(JUDGED, verdict=Verdict.REAL, reason=Reason.VERIFIED_CAPTURE), b"e.png"),
            named(replace(scored, verdict=Verdict.UNCERTAIN), b"between.png"),
            named(replace(JUDGED, verdict=Verdict.AI_EDIT), b"edit.png"),
            named(replace(scored, score=0.91), b"lower.png"),
            named(replace(scored, score=0.99), b"higher.png"),
            named(replace(JUDGED, score=None), b"declared.png"),
            MISSING,
        ]
    )
    order = ["declared.png", "higher.png", "lower.png", "edit.png", "between.png", "e.png"]
    places = [text.index(name) for name in order]
    assert places == sorted(places)
    assert "gone.jpg" not in text
    assert "0.9900" in text and Reason.DECLARED_AI.sentence in text


def test_table_of_many_files_leaves_out_what_was_not_flagged() -> None:
    calm = replace(JUDGED, verdict=Verdict.REAL, reason=Reason.SCORE_BELOW_THRESHOLD)
    findings = [named(calm, b"calm-%d.png" % number) for number in range(FEW)]
    assert show(findings).count("calm-") == FEW
    text = show([*findings, named(JUDGED, b"flagged.png")])
    assert "flagged.png" in text and "calm-" not in text
    assert show([*findings, named(calm, b"last.png")]) == ""


def test_table_is_bounded() -> None:
    scored = replace(JUDGED, reason=Reason.SCORE_ABOVE_THRESHOLD)
    text = show(
        [
            named(replace(scored, score=number / 1000), b"%03d.png" % number)
            for number in range(ROWS + 12)
        ]
    )
    assert text.count(".png") == ROWS
    assert "011.png" not in text and "012.png" in text
    assert "12 more" in text


def test_nothing_flagged_prints_nothing() -> None:
    assert show([MISSING]) == ""


def test_untrusted_text_stays_text() -> None:
    name = "[red]x[/red] :smile: \x1b]0;owned\x07\x9b \u202egnp.jpg\n".encode()
    text = show([named(replace(JUDGED, hints="a\u2066b\x1b[2Jc"), name)])
    assert "[red]x[/red] :smile:" in text
    assert "\x1b]0" not in text and "\x1b[2J" not in text
    assert not set(text) & set("\x07\x9b\u202e\u2066")


def summarise(flagged: list[Finding], other_files: int) -> str:
    summary = Summary()
    summary.other_files = other_files
    for finding in flagged:
        summary.add(finding)
    output = io.StringIO()
    print_summary(summary, Console(file=output, width=40))
    return output.getvalue()


@pytest.mark.parametrize("letter", "\u200b\u200c\u200d\u2060\ufeff\u202e\x1b")
def test_letters_that_show_nothing_are_shown(letter: str) -> None:
    assert make_printable(f"a{letter}b") == "a\ufffdb"


def test_summary_in_a_few_lines() -> None:
    corrupt = replace(MISSING, measurement=Measurement(Status.CORRUPT))
    edited = replace(JUDGED, verdict=Verdict.AI_EDIT)
    assert summarise([JUDGED, JUDGED, edited, MISSING, corrupt, corrupt], 1) == (
        "6 files: 2 AI, 1 edited with AI, 0 no sign of AI, 0 uncertain.\n"
        "3 files unreadable (2 corrupt, 1 not_found); 1 file skipped, not images.\n"
        f"  {make_printable(MISSING.source.path)}: {Status.NOT_FOUND.sentence}\n"
        + f"  {make_printable(MISSING.source.path)}: {Status.CORRUPT.sentence}\n"
        * 2
    )
    assert summarise([MISSING] * 7, 0).endswith(
        f": {Status.NOT_FOUND.sentence}\n  and 2 more; --report FILE lists them all.\n"
    )
    assert summarise([JUDGED], 0) == (
        "1 file: 1 AI, 0 edited with AI, 0 no sign of AI, 0 uncertain.\n"
    )
    assert summarise([], 0) == "No images found.\n"
