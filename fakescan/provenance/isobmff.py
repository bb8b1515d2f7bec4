"""HEIC, AVIF and CR3: boxes (ISO/IEC 14496-12) and the items of a picture (23008-12)."""

from __future__ import annotations

from collections.abc import Iterator

from fakescan.provenance import tiff, trailer, xmp
from fakescan.provenance.metadata import MAX_XMP_BYTES, Metadata

_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CANON_DIRECTORIES = {b"CMT1": "IFD0", b"CMT2": "ExifIFD", b"CMT4": "GPS"}
_MAX_HEAD = 64  # where an Exif item's TIFF header may begin at the latest


def walk(data: bytes, metadata: Metadata) -> None:
    """Read the Exif and XMP items, Canon's metadata, and whether there is a credential."""
    for kind, first, end in _boxes(data, 0, len(data), metadata):
        if kind == b"meta":
            _read_items(data, first + 4, end, metadata)
        elif kind == b"uuid":
            _read_uuid(data, first, end, metadata)
        elif kind == b"moov":
            for inner, start, stop in _boxes(data, first, end, metadata):
                if inner == b"uuid" and data.startswith(_CANON_UUID, start):
                    _read_canon(data, start + 16, stop, metadata)
        elif kind == b"sefd":
            trailer.read(data, first, end, metadata)


def _boxes(
    data: bytes, position: int, end: int, metadata: Metadata
) -> Iterator[tuple[bytes, int, int]]:
    """Type, first byte of the content and end of each box between `position` and `end`."""
    while position + 8 <= end and metadata.count_chunk():
        size = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        elif size == 0:
            size = end - position
        if size < head or position + size > end:
            metadata.malformed = True
            if size < head:
                return
        yield kind, position + head, min(position + size, end)
        position += size


def _read_uuid(data: bytes, first: int, end: int, metadata: Metadata) -> None:
    if data.startswith(_C2PA_UUID, first):
        metadata.mark_manifest(first)
    elif data.startswith(_XMP_UUID, first):
        xmp.read(data[first + 16 : min(end, first + 16 + MAX_XMP_BYTES)], first, metadata)


def _read_canon(data: bytes, first: int, end: int, metadata: Metadata) -> None:
    for kind, start, stop in _boxes(data, first, end, metadata):
        if kind in _CANON_DIRECTORIES:
            tiff.walk(data, start, stop, metadata, root=_CANON_DIRECTORIES[kind])


def _read_items(data: bytes, first: int, end: int, metadata: Metadata) -> None:
    kinds: dict[int, bytes] = {}
    places: dict[int, tuple[int, int, int]] = {}
    idat = 0
    for kind, start, stop in _boxes(data, first, end, metadata):
        if kind == b"iinf":
            kinds = _item_kinds(data, start, stop, metadata)
        elif kind == b"iloc":
            places = _item_places(data[start:stop], metadata)
        elif kind == b"idat":
            idat = start
    for item, kind in kinds.items():
        method, offset, length = places.get(item, (0, 0, 0))
        offset += idat if method == 1 else 0
        if not length or offset + length > len(data):
            metadata.malformed = True
        elif kind == b"Exif":
            _read_exif(data, offset, offset + length, metadata)
        else:
            xmp.read(data[offset : offset + min(length, MAX_XMP_BYTES)], offset, metadata)


def _read_exif(data: bytes, offset: int, end: int, metadata: Metadata) -> None:
    """Four bytes tell how far the TIFF header is; where they lie, look for it."""
    start = offset + 4 + int.from_bytes(data[offset : offset + 4], "big")
    if data[start : start + 2] not in {b"II", b"MM"}:
        head = data[offset : min(offset + _MAX_HEAD, end)]
        found = [head.find(magic) for magic in (b"II*\0", b"MM\0*") if magic in head]
        if not found:
            metadata.malformed = True
            return
        start = offset + min(found)
    tiff.walk(data, start, end, metadata)


def _item_kinds(data: bytes, first: int, end: int, metadata: Metadata) -> dict[int, bytes]:
    """Items that hold Exif or XMP: their number and type (ItemInfoBox)."""
    kinds: dict[int, bytes] = {}
    count_bytes = 2 if data[first : first + 1] == b"\0" else 4
    for kind, start, stop in _boxes(data, first + 4 + count_bytes, end, metadata):
        version = data[start] if start < stop else 0
        if kind != b"infe" or version < 2:
            continue
        id_bytes = 2 if version == 2 else 4
        item = int.from_bytes(data[start + 4 : start + 4 + id_bytes], "big")
        item_kind = data[start + 6 + id_bytes : start + 10 + id_bytes]
        if item_kind == b"Exif" or (
            item_kind == b"mime" and data.find(b"rdf+xml", start, stop) >= 0
        ):
            kinds[item] = item_kind
    return kinds


def _item_places(box: bytes, metadata: Metadata) -> dict[int, tuple[int, int, int]]:
    """Where each item lies: construction method, offset, length of its first extent."""
    places: dict[int, tuple[int, int, int]] = {}
    if len(box) < 8:
        metadata.malformed = True
        return places
    version = box[0]
    offset_bytes, length_bytes = box[4] >> 4, box[4] & 15
    base_bytes, index_bytes = box[5] >> 4, box[5] & 15 if version else 0
    id_bytes = 4 if version == 2 else 2
    count = int.from_bytes(box[6 : 6 + id_bytes], "big")
    position = 6 + id_bytes

    def take(size: int) -> int:
        nonlocal position
        position += size
        return int.from_bytes(box[position - size : position], "big")

    for _ in range(count):
        if position >= len(box):
            metadata.malformed = True
            break
        if not metadata.count_chunk():
            break
        item = take(id_bytes)
        method = take(2) & 15 if version else 0
        take(2)  # the data reference: other files are never read
        base = take(base_bytes)
        extents = take(2)
        if extents:
            take(index_bytes)
            offset, length = take(offset_bytes), take(length_bytes)
            places[item] = (method, base + offset, length)
            # Skipped, not walked: extents of no bytes would cost a hostile file nothing.
            position += (extents - 1) * (index_bytes + offset_bytes + length_bytes)
    return places
