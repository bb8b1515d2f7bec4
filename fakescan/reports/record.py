"""A finding as schema version 1 writes it: a JSON object, and its flat columns."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from fakescan.records import SCHEMA_VERSION, Evidence, Finding, JudgedModel

COLUMNS = (
    "path",
    "verdict",
    "score",
    "reason",
    "decided_by",
    "status",
    "metadata_status",
    "generator",
    "generator_version",
    "digital_source_type",
    "credential_validation_state",
    "credential_signer",
    "camera_make",
    "camera_model",
    "lens_model",
    "date_time_original",
    "software",
    "has_gps",
    "hints",
    "prompt",
    "media_type",
    "width",
    "height",
    "orientation",
    "size_bytes",
    "modified_at",
    "sha256",
    "model_name",
    "model_version",
    "model_sha256",
    "model_backend",
    "model_precision",
    "model_logit",
    "model_threshold_real",
    "model_threshold_ai",
    "model_max_false_positive_rate",
    "overlay",
    "path_base64",
    "schema_version",
)
"""The columns of CSV and Parquet, in order. New ones are added at the end."""

PROMPT_CHARACTERS = 200
"""How much of a prompt fits into a CSV cell."""

_PATH_COLUMNS = frozenset({"path", "overlay"})
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_FORMULA_BEHIND_SEMICOLON = re.compile(r";(?=[=+\-@])")
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)))
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_SURROGATE = re.compile("[\ud800-\udfff]")


def to_record(finding: Finding) -> dict[str, object]:
    """The finding as a JSON object of schema version 1: every key present, in its order.

    Logits and score are rounded to 4 decimal places. All text can be encoded as UTF-8: U+FFFD
    stands for what can't. The bytes of a name that is not UTF-8 are in `path_base64`.
    """
    measurement = finding.measurement
    provenance = measurement.provenance
    record: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "path": finding.source.path,
        "path_base64": _encode_path(finding.source.path),
        "status": measurement.status.value,
        "metadata_status": provenance.metadata_status.value,
        "verdict": finding.verdict and finding.verdict.value,
        "score": None if finding.score is None else _round(finding.score),
        "reason": finding.reason and finding.reason.value,
        "decided_by": finding.decided_by,
        "generator": provenance.generator,
        "generator_version": provenance.generator_version,
        "prompt": provenance.prompt,
        "digital_source_type": provenance.digital_source_type,
        "credential": provenance.credential and asdict(provenance.credential),
        "camera_make": provenance.camera_make,
        "camera_model": provenance.camera_model,
        "lens_model": provenance.lens_model,
        "date_time_original": provenance.date_time_original,
        "software": provenance.software,
        "has_gps": provenance.has_gps,
        "hints": finding.hints,
        "media_type": measurement.media_type,
        "width": measurement.width,
        "height": measurement.height,
        "orientation": measurement.orientation,
        "size_bytes": finding.source.size_bytes,
        "modified_at": _format_time(finding.source.modified_ns),
        "sha256": measurement.sha256,
        "model": finding.model and _model_record(finding.model),
        "evidence": [_evidence_record(evidence) for evidence in provenance.evidence],
        "overlay": finding.overlay,
        "models": None
        if finding.members is None
        else [_member_record(member) for member in finding.members],
    }
    return {key: replace_surrogates(value) for key, value in record.items()}


def flatten(record: dict[str, object]) -> dict[str, object]:
    """The record's values by the names of `COLUMNS`, types kept, for reports that are tables."""
    return {column: _column_value(record, column) for column in COLUMNS}


def to_columns(record: dict[str, object]) -> list[str]:
    """The record as CSV cells in the order of `COLUMNS`; an empty cell is null.

    A path that a spreadsheet would take for a formula gets `./` before it, in `path_base64` too
    where that begins so; other such text gets an apostrophe, numbers nothing. Paths are exact
    otherwise; other text loses control characters, which many a reader of CSV stumbles over, and
    a prompt is cut to `PROMPT_CHARACTERS`.
    """
    return [_format_cell(column, value) for column, value in flatten(record).items()]


def encode_json(value: object) -> str:
    """The value as JSON on one line, readable text left as it is.

    Raises ValueError for numbers that JSON doesn't have.
    """
    return _JSON.encode(value)


def replace_surrogates(value: Any) -> Any:
    """The JSON value with U+FFFD for every surrogate code point, which UTF-8 can't hold.

    Metadata written as JSON may hold them, and so may names of files. Tuples become lists.
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {replace_surrogates(key): replace_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_surrogates(item) for item in value]
    return value


def _encode_path(path: str) -> str | None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return _encode_bytes(os.fsencode(path))
    return None


def _encode_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _format_time(modified_ns: int | None) -> str | None:
    if modified_ns is None:
        return None
    try:
        moment = datetime(1970, 1, 1) + timedelta(seconds=modified_ns // 10**9)
    except OverflowError:  # file systems know years beyond 9999
        return None
    return f"{moment.isoformat()}Z"


def _round(number: float) -> float | None:
    # JSON has no NaN and no infinity, and a broken network must not break the report.
    return round(number, 4) if math.isfinite(number) else None


def _model_record(model: JudgedModel) -> dict[str, object]:
    output = model.output
    return {
        **_member_record(model),
        "max_false_positive_rate": model.max_false_positive_rate,
        "crops": [{**asdict(crop), "logit": _round(crop.logit)} for crop in output.crops],
    }


def _member_record(model: JudgedModel) -> dict[str, object]:
    output = model.output
    return {
        "name": output.name,
        "version": output.version,
        "sha256": output.sha256,
        "backend": output.backend,
        "precision": output.precision,
        "logit": _round(output.logit),
        "threshold_real": model.threshold_real,
        "threshold_ai": model.threshold_ai,
    }


def _evidence_record(evidence: Evidence) -> dict[str, object]:
    return {**asdict(evidence), "says": evidence.says.value, "tier": evidence.tier.value}


def _column_value(record: dict[str, object], column: str) -> object:
    if column in record:
        return record[column]
    group, _, name = column.partition("_")
    part = record[group]
    return part[name] if isinstance(part, dict) else None


def _format_cell(column: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return f"{value:.4f}" if column == "score" else str(value)
    if column in _PATH_COLUMNS:
        return f"./{value}" if value.startswith(_FORMULA_STARTS) else value
    if column == "path_base64":
        is_formula = value.startswith(_FORMULA_STARTS)
        return _encode_bytes(b"./" + base64.b64decode(value)) if is_formula else value
    text = value.translate(_CONTROLS)
    if column == "prompt":
        text = text[:PROMPT_CHARACTERS]
    text = _FORMULA_BEHIND_SEMICOLON.sub(";'", text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
