"""The camera's side of EXIF: what took the picture, and what speaks against that.

Standards: EXIF 2.32 (CIPA DC-008-2019). Values are read with exifread.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import datetime

from fakescan.provenance.metadata import Metadata, Tag, decode_text
from fakescan.provenance.tiff import MAKER_NOTE
from fakescan.records import Evidence, Says, Tier

_ASCII = 2
_TAGS = frozenset(
    {
        0x010F,  # Make
        0x0110,  # Model
        0x0131,  # Software
        0x829A,  # ExposureTime
        0x829D,  # FNumber
        0x8822,  # ExposureProgram
        0x8827,  # ISOSpeedRatings
        0x9003,  # DateTimeOriginal
        0x9011,  # OffsetTimeOriginal
        0x9201,  # ShutterSpeedValue
        0x9202,  # ApertureValue
        0x9207,  # MeteringMode
        0x9209,  # Flash
        0x920A,  # FocalLength
        0x9291,  # SubSecTimeOriginal
        0xA433,  # LensMake
        0xA434,  # LensModel
    }
)
_EXPOSURE = (
    "ExposureTime",
    "FNumber",
    "ISOSpeedRatings",
    "FocalLength",
    "ShutterSpeedValue",
    "ApertureValue",
    "MeteringMode",
    "Flash",
    "ExposureProgram",
)
_MIN_EXPOSURE = 3
_MIN_EXPOSURE_WITHOUT_MAKE = 5
_MAX_TEXT = 256  # bytes; longer "makes" are workflows
_MAX_COUNT = 16  # every numeric tag above has one or two values
_MAX_NAME = 100  # characters; lenses and editors with their build reach 60
_MIN_MAKER_NOTE = 200  # bytes; the smallest real ones seen are longer

# How makers begin their notes (exiftool's MakerNotes.pm lists them).
_MAKER_NOTES = (
    (b"Nikon\0", "nikon"),
    (b"OLYMP", "olympus"),
    (b"OM SYSTEM", "om digital"),
    (b"FUJIFILM", "fujifilm"),
    (b"Panasonic\0", "panasonic"),
    (b"Apple iOS\0", "apple"),
    (b"AOC\0", "pentax"),
    (b"PENTAX ", "pentax"),
    (b"SONY", "sony"),
    (b"QVC\0", "casio"),
    (b"SANYO\0", "sanyo"),
    (b"KDK", "kodak"),
    (b"LEICA", "leica"),
    (b"SIGMA\0", "sigma"),
    (b"Ricoh", "ricoh"),
    (b"RICOH", "ricoh"),
)
# Makes that write another's notes: rebadged cameras and merged companies.
_RELATIVES = {
    "olympus": ("om digital", "epson", "sanyo"),
    "panasonic": ("leica",),
    "pentax": ("ricoh", "samsung", "asahi"),
    "ricoh": ("pentax",),
    "sony": ("minolta", "hasselblad"),
    "sanyo": ("nikon", "olympus"),
}
_GAMES = re.compile(r"(?i)^(?:polyphony digital|playground games|rockstar games)")
_NOT_A_NAME = re.compile(r"(?i)[{}\x00-\x1f]|^(?:workflow|prompt)\s*:")
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d$")
_GPS_POSITION = frozenset({2, 4})  # GPSLatitude, GPSLongitude


@dataclass(frozen=True, slots=True)
class Camera:
    """What EXIF says of the camera; None where it says nothing fit to be a camera's."""

    make: str | None
    model: str | None
    lens_model: str | None
    date_time_original: str | None
    software: str | None
    has_gps: bool
    evidence: tuple[Evidence, ...]


def read_camera(metadata: Metadata) -> Camera:
    """The camera as the walked tags give it. Everything here can be forged: no proof."""
    values = _read_values(metadata)
    offsets = {tag.number: tag.offset for tag in reversed(metadata.tags)}
    make, model = _name(values.get("Make")), _name(values.get("Model"))
    exposure = [name for name in _EXPOSURE if values.get(name)]
    evidence: list[Evidence] = []

    def find(rule: str, says: Says, tier: Tier, location: str, number: int, value: str) -> None:
        source = full_name(make, model)
        evidence.append(
            Evidence("exif", rule, says, tier, source, location, offsets.get(number), value)
        )

    if make and _GAMES.match(make):
        find("game-screenshot", Says.EDITED, Tier.WEAK, "EXIF:Make", 0x010F, make)
        make = model = None
    elif make and model and len(exposure) >= _MIN_EXPOSURE:
        shown = ", ".join(f"{name} {values[name]}" for name in exposure[:4])
        find("camera-exif", Says.CAMERA, Tier.WEAK, "EXIF:Make", 0x010F, shown)
    elif not make and len(exposure) >= _MIN_EXPOSURE_WITHOUT_MAKE:
        shown = ", ".join(exposure)
        find("exposure-without-make", Says.CAMERA, Tier.WEAK, "EXIF:ExposureTime", 0x829A, shown)
    elif make and model and not exposure and _is_generator_size(metadata):
        shown = f"{metadata.width}x{metadata.height}"
        find("camera-without-exposure", Says.AI, Tier.WEAK, "EXIF:Make", 0x010F, shown)
    note = next((tag for tag in metadata.tags if tag.number == MAKER_NOTE), None)
    if make and note and note.count > _MIN_MAKER_NOTE:
        maker = _maker(note)
        shown = f"{note.count} bytes, begins as {maker} notes do"
        if maker is None:
            pass
        elif any(name in make.lower() for name in (maker, *_RELATIVES.get(maker, ()))):
            find("maker-note", Says.CAMERA, Tier.STRONG, "EXIF:MakerNote", MAKER_NOTE, shown)
        else:
            find(
                "maker-note-of-another", Says.EDITED, Tier.WEAK, "EXIF:MakerNote", MAKER_NOTE, shown
            )
    gps = {tag.number for tag in metadata.tags if tag.directory == "GPS" and any(tag.data)}
    return Camera(
        make=make,
        model=model,
        lens_model=_name(values.get("LensModel")),
        date_time_original=_date(values),
        software=_name(values.get("Software")),
        has_gps=gps >= _GPS_POSITION,
        evidence=tuple(evidence),
    )


def _read_values(metadata: Metadata) -> dict[str, str]:
    """The camera's tags as exifread prints them, without IFD prefix; empty values are left out.

    exifread hangs on absurd counts and is slow on fat tags, so it is given a block of only the
    wanted tags, their sizes checked and their text made UTF-8.
    """
    wanted: dict[int, Tag] = {}
    for tag in metadata.tags:
        limit = _MAX_TEXT if tag.type == _ASCII else _MAX_COUNT
        if tag.number in _TAGS and tag.directory != "IFD1" and 0 < tag.count <= limit:
            wanted.setdefault(tag.number, tag)
    if not wanted:
        return {}
    import exifread

    order = next(iter(wanted.values())).order
    block = _build_block([tag for tag in wanted.values() if tag.order == order])
    try:
        tags = exifread.process_file(io.BytesIO(block), details=False, extract_thumbnail=False)
    except Exception:  # noqa: BLE001 (exifread raises Assertion, Index, Key, Unicode and more errors)
        metadata.malformed = True
        return {}
    values: dict[str, str] = {}
    for key, value in tags.items():
        text = str(value).strip("\0 \t\r\n")
        if text and text not in {"0", "[]"}:
            values[key.removeprefix("Image ")] = text
    return values


def _build_block(tags: list[Tag]) -> bytes:
    """A TIFF of one directory with `tags`, whose byte order is one."""
    order = tags[0].order
    values = [
        decode_text(tag.data).encode() + b"\0" if tag.type == _ASCII else tag.data for tag in tags
    ]
    heap = 8 + 2 + 12 * len(tags) + 4
    head = b"II*\0" if order == "little" else b"MM\0*"
    entries = bytearray(head + (8).to_bytes(4, order) + len(tags).to_bytes(2, order))
    tail = bytearray()
    for tag, value in zip(tags, values, strict=True):
        count = len(value) if tag.type == _ASCII else tag.count
        entries += tag.number.to_bytes(2, order) + tag.type.to_bytes(2, order)
        entries += count.to_bytes(4, order)
        if len(value) <= 4:
            entries += value.ljust(4, b"\0")
        else:
            entries += (heap + len(tail)).to_bytes(4, order)
            tail += value
    return bytes(entries) + bytes(4) + bytes(tail)


def _name(value: str | None) -> str | None:
    if not value or len(value) > _MAX_NAME or _NOT_A_NAME.search(value):
        return None
    return value.strip() or None  # all that is space in Unicode, too


def full_name(make: str | None, model: str | None) -> str | None:
    """Make and model as people say them: many models repeat their make."""
    if make and model and not model.lower().startswith(make.partition(" ")[0].lower()):
        return f"{make} {model}"
    return model or make


def _date(values: dict[str, str]) -> str | None:
    """`YYYY-MM-DDTHH:MM:SS`, with the offset only where EXIF states one."""
    found = _DATE.match(values.get("DateTimeOriginal", ""))
    if found is None:
        return None
    try:
        taken = datetime(*(int(part) for part in found.groups()))  # type: ignore[arg-type]
    except ValueError:  # a clock never set, or a month that is none
        return None
    offset = values.get("OffsetTimeOriginal", "")
    return taken.isoformat() + (offset if _OFFSET.match(offset) else "")


def _is_generator_size(metadata: Metadata) -> bool:
    """Sides in whole latent steps of 64, as diffusion models make them, and not a camera's 4:3."""
    width, height = metadata.width or 0, metadata.height or 0
    long, short = max(width, height), min(width, height)
    return (
        short >= 512 and long <= 2048 and not (width % 64 or height % 64) and 3 * long != 4 * short
    )


def _maker(note: Tag) -> str | None:
    """Whose maker note it is, by how it begins."""
    for head, maker in _MAKER_NOTES:
        if note.data.startswith(head):
            return maker
    # Canon writes a bare directory, whose first tag is its camera settings: 1, of shorts.
    count, number, kind = (int.from_bytes(note.data[i : i + 2], note.order) for i in (0, 2, 4))
    return "canon" if 1 <= count <= 200 and number == 1 and kind == 3 else None
