"""The types that flow through a scan, and every closed set with its sentence."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    import numpy.typing as npt

    UInt8Array = npt.NDArray[np.uint8]

SCHEMA_VERSION = 1

DEFAULT_MAX_PIXELS = 256_000_000
"""Phones reach 200 megapixels; a decoded picture of this size takes 768 MB."""

DEFAULT_MAX_FALSE_POSITIVE_RATE = 0.01
"""Of a thousand real photographs about ten are then called AI by their score."""


class FakescanError(Exception):
    """A user's mistake or an unusable environment: one line that names the mend."""


class Status(StrEnum):
    """What became of a file. Everything but `ok` leaves verdict and score empty."""

    OK = "ok"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_LARGE = "too_large"
    PERMISSION_DENIED = "permission_denied"
    NOT_FOUND = "not_found"
    NOT_A_REGULAR_FILE = "not_a_regular_file"
    DECODER_CRASHED = "decoder_crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    READ_ERROR = "read_error"

    @property
    def sentence(self) -> str:
        """What to tell a person."""
        return _STATUS_SENTENCES[self]

    @property
    def is_of_content(self) -> bool:
        """Whether the same bytes would give the same status again, so that it may be remembered."""
        return self in _CONTENT_STATUSES


_STATUS_SENTENCES = {
    Status.OK: "Read.",
    Status.EMPTY: "The file has no bytes.",
    Status.TRUNCATED: "The file ends before the picture does.",
    Status.CORRUPT: "The picture's data is damaged.",
    Status.NOT_AN_IMAGE: "The file is not an image.",
    Status.UNSUPPORTED_FORMAT: "Pictures of this format cannot be judged.",
    Status.TOO_LARGE: "The picture has more pixels than --max-pixels allows.",
    Status.PERMISSION_DENIED: "Reading is not permitted.",
    Status.NOT_FOUND: "There is no such file.",
    Status.NOT_A_REGULAR_FILE: "It is a pipe, socket or device, and was not opened.",
    Status.DECODER_CRASHED: "The decoder crashed on this file.",
    Status.TIMED_OUT: "Decoding took too long.",
    Status.OUT_OF_MEMORY: "There was not enough memory for this picture.",
    Status.READ_ERROR: "The file could not be read from its disk.",
}

_CONTENT_STATUSES = frozenset(
    {
        Status.OK,
        Status.EMPTY,
        Status.TRUNCATED,
        Status.CORRUPT,
        Status.NOT_AN_IMAGE,
        Status.UNSUPPORTED_FORMAT,
        Status.TOO_LARGE,
    }
)


class MetadataStatus(StrEnum):
    """How far the file's metadata could be read."""

    OK = "ok"
    MALFORMED = "malformed"
    LIMIT_REACHED = "limit_reached"
    UNREAD = "unread"


class Verdict(StrEnum):
    """The answer. `real` means that no sign of AI was found, no more than that."""

    AI = "ai"
    AI_EDIT = "ai_edit"
    REAL = "real"
    UNCERTAIN = "uncertain"


class Reason(StrEnum):
    """Why the verdict fell as it did."""

    VERIFIED_CREDENTIAL = "verified_credential"
    VERIFIED_SIGNATURE = "verified_signature"
    VERIFIED_CAPTURE = "verified_capture"
    DECLARED_AI = "declared_ai"
    DECLARED_AI_EDIT = "declared_ai_edit"
    SCORE_ABOVE_THRESHOLD = "score_above_threshold"
    SCORE_BELOW_THRESHOLD = "score_below_threshold"
    SCORE_BETWEEN_THRESHOLDS = "score_between_thresholds"
    NO_MODEL_FOR_SIZE = "no_model_for_size"
    OUTSIDE_DOMAIN = "outside_domain"
    TOO_DEGRADED = "too_degraded"
    CONFLICTING_EVIDENCE = "conflicting_evidence"
    UNCALIBRATED_MODEL = "uncalibrated_model"

    @property
    def sentence(self) -> str:
        """What to tell a person; the same words in every report."""
        return _REASON_SENTENCES[self]


_REASON_SENTENCES = {
    Reason.VERIFIED_CREDENTIAL: "A verified content credential states that AI made it.",
    Reason.VERIFIED_SIGNATURE: "A verified signature of an AI generator covers these pixels.",
    Reason.VERIFIED_CAPTURE: "A verified credential states that a camera captured it.",
    Reason.DECLARED_AI: "The file declares that AI made it; the declaration is unsigned.",
    Reason.DECLARED_AI_EDIT: "The file declares an edit by AI; the declaration is unsigned.",
    Reason.SCORE_ABOVE_THRESHOLD: "The model's score is in the range of AI images.",
    Reason.SCORE_BELOW_THRESHOLD: "The model found no sign of AI.",
    Reason.SCORE_BETWEEN_THRESHOLDS: "The model's score fits AI images and photographs alike.",
    Reason.NO_MODEL_FOR_SIZE: "No model judges pictures of this size.",
    Reason.OUTSIDE_DOMAIN: "The picture is of a kind that no model here judges.",
    Reason.TOO_DEGRADED: "Too little of the original picture is left to judge.",
    Reason.CONFLICTING_EVIDENCE: "Verified statements contradict each other.",
    Reason.UNCALIBRATED_MODEL: "The model was never calibrated; its score decides nothing.",
}


class Says(StrEnum):
    """What a piece of evidence speaks for."""

    AI = "ai"
    AI_EDIT = "ai_edit"
    CAMERA = "camera"
    EDITED = "edited"
    STRIPPED = "stripped"


class Tier(StrEnum):
    """How far evidence can be trusted. Only proof cannot be forged."""

    PROOF = "proof"
    STRONG = "strong"
    WEAK = "weak"


@dataclass(frozen=True, slots=True)
class Source:
    """A file to scan: where it is, and what its directory entry said when it was found.

    `path` is the key shown in reports, with bytes that are not UTF-8 as surrogate escapes.
    `problem` is set when it is known beforehand that the file can't be opened.
    """

    path: str
    size_bytes: int | None = None
    modified_ns: int | None = None
    problem: Status | None = None

    def open(self) -> BinaryIO:
        """Open for reading bytes, never waiting on a pipe.

        Raises OSError as `open` does, and IsADirectoryError for all that is no regular file,
        also when it became one after it was found.
        """
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self.path, flags)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IsADirectoryError(self.path)
        return os.fdopen(descriptor, "rb")


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """A file read once, and its first picture decoded.

    `pixels` is RGB uint8 (H, W, 3) in stored order; `alpha` is uint8 (H, W) or None. The rule for
    other pixel formats stands in images.py. `bit_depth` is bits a channel as stored;
    `orientation` is EXIF's 1 to 8 and not yet applied; `has_more_frames` tells that the file holds
    further pictures (animation, pages, bursts), which nobody looks at.
    """

    source: Source
    data: bytes
    sha256: str
    media_type: str
    pixels: UInt8Array
    alpha: UInt8Array | None
    bit_depth: int
    orientation: int
    has_more_frames: bool

    @property
    def width(self) -> int:
        """Pixels across, as stored."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels down, as stored."""
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Unreadable:
    """A file that gives no pixels. What could be read is kept: metadata may still say something."""

    source: Source
    status: Status
    data: bytes | None = None
    sha256: str | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One mark found in a file: what it says, how far to trust it, and where to check it.

    `value` is text as the file holds it, control characters included.
    """

    signal: str
    rule: str
    says: Says
    tier: Tier
    source: str | None
    location: str
    offset: int | None
    value: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A C2PA content credential as it validated against the shipped trust lists."""

    validation_state: str
    failure_codes: tuple[str, ...]
    signer: str | None
    claim_generator: str | None
    digital_source_type: str | None
    actions: tuple[str, ...]
    trust_list_date: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """All that a file says of itself. None where it says nothing."""

    metadata_status: MetadataStatus = MetadataStatus.OK
    evidence: tuple[Evidence, ...] = ()
    credential: Credential | None = None
    generator: str | None = None
    generator_version: str | None = None
    prompt: str | None = None
    digital_source_type: str | None = None
    camera_make: str | None = None
    camera_model: str | None = None
    lens_model: str | None = None
    date_time_original: str | None = None
    software: str | None = None
    has_gps: bool = False
    notes: tuple[str, ...] = ()
    """Short sentences about the metadata that are no evidence of origin."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A square window that a model looked at, in stored pixels, and its raw logit."""

    x: int
    y: int
    size: int
    logit: float


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What one model said of one image: a logit a crop, and the pooled one; uncalibrated.

    A model that was shown the picture as a whole has no crops.
    """

    name: str
    version: str
    sha256: str
    backend: str
    precision: str
    logit: float
    crops: tuple[Crop, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """All that looking at a file cost, and nothing that depends on a threshold or on its path.

    `outputs` holds what each model said that looked: one, or several that are combined.
    `abstention` tells why none looked; it is None exactly when there are outputs or the status is
    not ok.
    """

    status: Status
    provenance: Provenance = field(default_factory=Provenance)
    outputs: tuple[ModelOutput, ...] = ()
    abstention: Reason | None = None
    sha256: str | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    orientation: int | None = None
    has_more_frames: bool = False


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """The model's part of a finding: its output and the thresholds that it was held against.

    Of several that are combined, the output has their names, joined, and the mean of their
    calibrated logits.
    """

    output: ModelOutput
    threshold_real: float | None
    threshold_ai: float | None
    max_false_positive_rate: float


@dataclass(frozen=True, slots=True)
class Finding:
    """The judged measurement of one source: one row of every report.

    `members` are the models whose combination `model` is; None where none are combined.
    """

    source: Source
    measurement: Measurement
    verdict: Verdict | None
    score: float | None
    reason: Reason | None
    decided_by: str | None
    hints: str
    model: JudgedModel | None
    overlay: str | None = None
    members: tuple[JudgedModel, ...] | None = None

    @property
    def status(self) -> Status:
        """What became of the file."""
        return self.measurement.status


class Split(StrEnum):
    """What a labelled picture is for. `test` only ever reports."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class ExitCode:
    """What the command line answers with."""

    DONE: Literal[0] = 0
    FOUND_AI: Literal[1] = 1
    DID_NOT_RUN: Literal[2] = 2
    SOME_UNREADABLE: Literal[3] = 3
    INTERRUPTED: Literal[130] = 130
