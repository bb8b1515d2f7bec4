"""Every type that flows, every closed set with its sentence; imports nothing else of ours."""

from typing import TYPE_CHECKING

from fakescan.records.closed_sets import (
    DEFAULT_DECODE_MEMORY,
    DEFAULT_DECODE_SECONDS,
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    DEFAULT_MAX_PIXELS,
    SCHEMA_VERSION,
    DecoderName,
    ExitCode,
    FakescanError,
    MetadataStatus,
    Reason,
    Says,
    Split,
    Status,
    Tier,
    Verdict,
    how_to_install,
)
from fakescan.records.flow import (
    Credential,
    Crop,
    DecodedImage,
    Evidence,
    Finding,
    JudgedModel,
    Measurement,
    ModelOutput,
    Provenance,
    Source,
    Unreadable,
)

if TYPE_CHECKING:
    from fakescan.records.flow import UInt8Array

__all__ = [
    "DEFAULT_DECODE_MEMORY",
    "DEFAULT_DECODE_SECONDS",
    "DEFAULT_MAX_FALSE_POSITIVE_RATE",
    "DEFAULT_MAX_PIXELS",
    "SCHEMA_VERSION",
    "Credential",
    "Crop",
    "DecodedImage",
    "DecoderName",
    "Evidence",
    "ExitCode",
    "FakescanError",
    "Finding",
    "JudgedModel",
    "Measurement",
    "MetadataStatus",
    "ModelOutput",
    "Provenance",
    "Reason",
    "Says",
    "Source",
    "Split",
    "Status",
    "Tier",
    "UInt8Array",
    "Unreadable",
    "Verdict",
    "how_to_install",
]
