"""TIFF directories: EXIF blocks, TIFF files and the camera RAW formats built on them.

TIFF 6.0; EXIF 2.32 (CIPA DC-008); BigTIFF.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

from fakescan.provenance import icc, iptc, xmp
from fakescan.provenance.metadata import (
    MAX_VALUE_BYTES,
    MAX_XMP_BYTES,
    ByteOrder,
    Metadata,
    Tag,
    decode_text,
)

MAKER_NOTE = 0x927C
USER_COMMENT = 0x9286

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
TYPE_BYTES |= {16: 8, 17: 8, 18: 8, 129: 1}  # BigTIFF's long ones, and EXIF 3.0's UTF-8

TEXT_TAGS = {
    0x000B: "ProcessingSoftware",
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x013C: "HostComputer",
    0x8298: "Copyright",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9D: "XPAuthor",
    0x9C9E: "XPKeywords",
    0x9C9F: "XPSubject",
    USER_COMMENT: "UserComment",
}

_DIRECTORIES = {0x8769: "ExifIFD", 0x8825: "GPS", 0xA005: "InteropIFD"}
_THUMBNAIL = (0x0201, 0x0202)  # JPEGInterchangeFormat and its length
_XMP, _IPTC, _PHOTOSHOP, _ICC, _C2PA = 0x02BC, 0x83BB, 0x8649, 0x8773, 0xCD41
_ASCII_LETTER = re.compile("[A-Za-z]")
_BLOCKS = frozenset({_XMP, _IPTC, _PHOTOSHOP, _ICC})


def walk(
    data: bytes,
    start: int,
    end: int,
    metadata: Metadata,
    *,
    root: str = "IFD0",
    file_offset: int = 0,
    is_decoded: bool = False,
) -> None:
    """Read the directories of the TIFF structure in `data[start:end]`, whose offsets count from
    `start`; `file_offset` is where `data` begins in the file. Where `is_decoded`, the file holds
    it in another form, and `file_offset` is all that can be said of where a tag stands.

    Only the first two directories of the chain are read: the picture and its thumbnail. Further
    pages say nothing of origin.
    """
    head = data[start : min(start + 16, end)]
    if head[:2] not in {b"II", b"MM"} or len(head) < 8:
        metadata.malformed = True
        return
    order: ByteOrder = "big" if head.startswith(b"MM") else "little"
    big = int.from_bytes(head[2:4], order) == 43
    word = 8 if big else 4
    reader = _Reader(data, start, end, file_offset, is_decoded, order, word, metadata)
    reader.pending.append((int.from_bytes(head[8:16] if big else head[4:8], order), root))
    reader.read()


@dataclass(slots=True)
class _Reader:
    """One TIFF structure; `word` is the size of its offsets: 4, or 8 in BigTIFF."""

    data: bytes
    start: int
    end: int
    file_offset: int
    is_decoded: bool
    order: ByteOrder
    word: int
    metadata: Metadata
    pending: list[tuple[int, str]] = field(default_factory=list)
    thumbnail: list[int] = field(default_factory=lambda: [0, 0])

    def read(self) -> None:
        seen = set()
        while self.pending:
            offset, directory = self.pending.pop()
            if offset in seen:
                self.metadata.malformed = True  # directories that lead round in a circle
            elif offset:
                seen.add(offset)
                self._read_directory(offset, directory)

    def _number(self, position: int, size: int) -> int:
        return int.from_bytes(self.data[position : min(position + size, self.end)], self.order)

    def _read_directory(self, offset: int, directory: str) -> None:
        count_bytes, entry_bytes = (8, 20) if self.word == 8 else (2, 12)
        position = self.start + offset
        if position + count_bytes > self.end:
            self.metadata.malformed = True
            return
        entries = self._number(position, count_bytes)
        position += count_bytes
        for first in range(position, position + entries * entry_bytes, entry_bytes):
            if first + entry_bytes > self.end:
                self.metadata.malformed = True
                return
            if self.metadata.tags_left <= 0:
                self.metadata.limit_reached = True
                return
            self.metadata.tags_left -= 1
            self._read_entry(first, directory)
        if directory == "IFD1" and self.thumbnail[0] and not self.file_offset:
            self.metadata.thumbnail = (self.start + self.thumbnail[0], self.thumbnail[1])
        if directory == "IFD0":
            self.pending.append((self._number(position + entries * entry_bytes, self.word), "IFD1"))

    def _read_entry(self, position: int, directory: str) -> None:
        number, kind = self._number(position, 2), self._number(position + 2, 2)
        count = self._number(position + 4, self.word)
        place = position + 4 + self.word
        if kind not in TYPE_BYTES:
            self.metadata.malformed = True
            return
        if directory == "IFD1" and number in _THUMBNAIL:
            self.thumbnail[_THUMBNAIL.index(number)] = self._number(place, self.word)
        if number in _DIRECTORIES:
            self.pending.append((self._number(place, self.word), _DIRECTORIES[number]))
            return
        in_file = self.file_offset + (0 if self.is_decoded else position)
        if number == _C2PA and directory == "IFD0":
            self.metadata.mark_manifest(in_file)
            return
        size = TYPE_BYTES[kind] * count
        first = place if size <= self.word else self.start + self._number(place, self.word)
        is_block = directory == "IFD0" and number in _BLOCKS
        limit = MAX_XMP_BYTES if is_block else MAX_VALUE_BYTES
        value = self.data[first : min(first + min(size, limit), self.end)]
        if first + size > self.end:
            self.metadata.malformed = True
        elif size > limit and (is_block or number in TEXT_TAGS):
            self.metadata.limit_reached = True
        if is_block:
            _read_block(number, value, in_file, self.metadata)
            return
        tag = Tag(directory, number, kind, count, value, in_file, self.order)
        self.metadata.tags.append(tag)
        if number in TEXT_TAGS and directory != "IFD1":
            name = TEXT_TAGS[number]
            is_cut = size > limit
            text = decode_tag(tag)
            self.metadata.add("exif", name, f"EXIF:{name}", in_file, text, is_cut=is_cut)


def _read_block(number: int, value: bytes, offset: int, metadata: Metadata) -> None:
    if number == _XMP:
        xmp.read(value, offset, metadata)
    elif number == _IPTC:
        iptc.read_records(value, offset, metadata)
    elif number == _PHOTOSHOP:
        iptc.read_resources(value, offset, metadata)
    else:
        icc.read(value, offset, metadata)


def decode_tag(tag: Tag) -> str:
    """The text of a tag: UserComment in its own character code, XP tags in UTF-16."""
    if tag.number == USER_COMMENT:
        return _decode_user_comment(tag)
    if 0x9C9B <= tag.number <= 0x9C9F:
        return tag.data.decode("utf-16-le", "replace").rstrip("\0")
    return decode_text(tag.data.split(b"\0", 1)[0]).strip()


def _decode_user_comment(tag: Tag) -> str:
    code, text = tag.data[:8], tag.data[8:]
    if not text:
        return ""
    if code.upper() == b"UNICODE\0":
        return _decode_unicode(text, tag.order).rstrip("\0 ")
    if code in {b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8)}:
        return decode_text(text.rstrip(b"\0 "))
    return decode_text(tag.data.rstrip(b"\0 "))


def _decode_unicode(text: bytes, order: ByteOrder) -> str:
    """UTF-16 in the order that the text itself tells, else in `order`; or UTF-8.

    EXIF leaves the byte order open and writers choose it freely. Settings stand behind every
    prompt, in whatever language, so the right order shows many different ASCII letters. The wrong
    one shows one or two, however often: of U+4E00, Chinese for "one", it makes an N.
    """
    if text.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):
        return text.decode("utf-16", "replace")
    plain = text.rstrip(b"\0")
    if 0 not in plain:
        try:
            decoded = plain.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            # UTF-16 is hardly ever valid UTF-8, and then not in printable characters.
            if all(letter.isprintable() or letter.isspace() for letter in decoded):
                return decoded
    same, other = ("utf-16-be", "utf-16-le") if order == "big" else ("utf-16-le", "utf-16-be")
    first, second = text.decode(same, "replace"), text.decode(other, "replace")
    is_other = _count_letters(second) > _count_letters(first) + 1
    return second if is_other else first


def _count_letters(text: str) -> int:
    """How many different ASCII letters `text` has."""
    return len(set(_ASCII_LETTER.findall(text)))
