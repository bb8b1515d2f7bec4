"""What the walk over a file has found, and how much it may still spend."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Literal

# Ordinary files stay far below these; each keeps a hostile one from costing more than a moment.
MAX_CHUNKS = 4_000
MAX_DATA_CHUNKS = 100_000  # IDAT: encoders that write 8 KiB each reach 6,000 at 48 MB
MAX_EXIF_TAGS = 512
MAX_VALUE_BYTES = 64 * 1024
MAX_SETTINGS_BYTES = 1024 * 1024  # a generator's own: ComfyUI's graphs pass 64 KiB
MAX_TEXT_BYTES = 2 * 1024 * 1024  # all values together: what the patterns are run over
MAX_XMP_BYTES = 1024 * 1024  # Photoshop's history passes 64 KiB; depth maps pass any sane limit
MAX_XMP_ELEMENTS = 20_000
MAX_INFLATED_BYTES = 8 * 1024 * 1024

ByteOrder = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class Field:
    """A named piece of text: `signal` is the kind of place, `name` the key there.

    `location` is what to ask exiftool for; `offset` is where the chunk, segment or tag that holds
    it begins, in bytes from the start of the file. Where `is_cut`, the value went on.
    """

    signal: str
    name: str
    location: str
    offset: int
    value: str
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Tag:
    """One TIFF entry whose value lies inside the file; `data` is cut at MAX_VALUE_BYTES."""

    directory: str
    number: int
    type: int
    count: int
    data: bytes
    offset: int
    order: ByteOrder


@dataclass(slots=True)
class Metadata:
    """The named fields of one file, in the order of the walk."""

    fields: list[Field] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    malformed: bool = False
    limit_reached: bool = False
    manifest_offset: int | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: tuple[int, int] | None = None
    """Where EXIF's thumbnail, a JPEG, begins in the file, and its length in bytes."""
    chunks_left: int = MAX_CHUNKS
    tags_left: int = MAX_EXIF_TAGS
    text_left: int = MAX_TEXT_BYTES
    inflated_left: int = MAX_INFLATED_BYTES
    xmp_left: int = MAX_XMP_BYTES
    elements_left: int = MAX_XMP_ELEMENTS

    def add(
        self,
        signal: str,
        name: str,
        location: str,
        offset: int,
        value: str,
        *,
        limit: int = MAX_VALUE_BYTES,
        is_cut: bool = False,
    ) -> None:
        """Keep a field, cut to `limit` and to what the file may hold; `is_cut` if it was before."""
        length = min(limit, self.text_left)
        if len(value) > length:
            self.limit_reached = is_cut = True
            value = value[:length]
        if value:
            self.text_left -= len(value)
            self.fields.append(Field(signal, name, location, offset, value, is_cut))

    def count_chunk(self) -> bool:
        """Whether one more chunk, segment or box may be looked at."""
        self.chunks_left -= 1
        if self.chunks_left < 0:
            self.limit_reached = True
            return False
        return True

    @property
    def is_overcrowded(self) -> bool:
        """Whether there were more chunks than anyone should have to walk."""
        return self.chunks_left < 0

    def inflate(self, data: bytes, limit: int = MAX_VALUE_BYTES) -> bytes:
        """Zlib data, at most `limit` bytes of it; what came before any damage."""
        limit = min(limit, self.inflated_left)
        if limit <= 0:
            self.limit_reached = True
            return b""
        inflater = zlib.decompressobj()
        try:
            inflated = inflater.decompress(data, limit)
        except zlib.error:
            self.malformed = True
            return b""
        self.inflated_left -= len(inflated)
        if not inflater.eof:
            if len(inflated) == limit:
                self.limit_reached = True
            else:
                self.malformed = True
        return inflated

    def mark_manifest(self, offset: int) -> None:
        """Note where the first content credential begins."""
        if self.manifest_offset is None:
            self.manifest_offset = offset


def decode_text(data: bytes) -> str:
    """UTF-8 where it is that, else Latin-1: what tools write, whatever the standard says."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
