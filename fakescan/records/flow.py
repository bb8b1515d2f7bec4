"""The types that flow through a scan: what is found, read, measured and judged."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakescan.records.closed_sets import MetadataStatus, Reason, Says, Status, Tier, Verdict

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    import numpy.typing as npt

    UInt8Array = npt.NDArray[np.uint8]


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
    changed_ns: int | None = field(default=None, kw_only=True)
    """Time of the last change, of its name too: POSIX's ctime, which no program can set. On
    Windows that of its creation."""

    @property
    def name(self) -> str:
        """What suffixes and hints are read from."""
        return self.path

    def resolve(self) -> Source:
        """With what only a question to a server tells, where the file lies on one."""
        return self

    def identity(self) -> tuple[bytes, int, int, int] | None:
        """A key, size and times that stay the same while the file does, if known.

        The times are of its modification and of its last change, 0 where that isn't known.
        """
        if self.size_bytes is None or self.modified_ns is None:
            return None
        key = os.fsencode(os.path.realpath(self.path))
        return key, self.size_bytes, self.modified_ns, self.changed_ns or 0

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

    `signal` is the kind of place (`exif`, `xmp`, `c2pa`, …), `rule` the id in the catalogue of
    marks or of the check that found it, `source` the tool or camera it names. `location` is the
    place by exiftool's name, `offset` in bytes from the start of the file where that can be said.
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
    """All that a file says of itself. None where it says nothing.

    `date_time_original` is `YYYY-MM-DDTHH:MM:SS`, with an offset from UTC only where EXIF has one.
    """

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

    Verdict and reason are None exactly where the file could not be read. `score` is the probability
    of AI at even prior odds, in [0, 1], to four places; None where no model looked. `decided_by` is
    a signal of the evidence or `model`; None where nothing decided. `hints` are sentences for
    people on what the file says of itself, `overlay` the path of the picture drawn of it.
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
