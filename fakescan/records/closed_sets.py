"""Every closed set, with the sentence of each member."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

SCHEMA_VERSION = 1


class FakescanError(Exception):
    """A user's mistake or an unusable environment: one line that names the mend."""


def how_to_install(extra: str) -> str:
    """The command that adds an extra. Not by name: PyPI's fakescan is another program."""
    return f"pip install '.[{extra}]' in fakescan's folder"


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
    Status.READ_ERROR: "The file could not be read.",
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
    Reason.VERIFIED_CREDENTIAL: "A verified content credential states that AI made or edited it.",
    Reason.VERIFIED_SIGNATURE: "A verified signature of an AI generator covers these pixels.",
    Reason.VERIFIED_CAPTURE: "A verified credential states that a camera captured it.",
    Reason.DECLARED_AI: "The file declares that AI made it; no signature vouches for that.",
    Reason.DECLARED_AI_EDIT: "The file declares an edit by AI; no signature vouches for that.",
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
    """How far evidence can be trusted. Only proof takes a key to forge."""

    PROOF = "proof"
    STRONG = "strong"
    WEAK = "weak"


class DecoderName(StrEnum):
    """What decodes JPEGs; all else is the CPU's."""

    CPU = "cpu"
    GPU = "gpu"


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
