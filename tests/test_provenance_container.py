"""The bounded walk: every container and place, damage, hostile files; and builders of files."""

from __future__ import annotations

import binascii
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakescan.provenance import read_provenance
from fakescan.provenance.container import read_metadata
from fakescan.provenance.metadata import (
    MAX_EXIF_TAGS,
    MAX_SETTINGS_BYTES,
    MAX_TEXT_BYTES,
    MAX_VALUE_BYTES,
    Field,
    Metadata,
)
from fakescan.records import MetadataStatus

PARAMETERS = "a lighthouse\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
XMP_KEY = b"http://ns.adobe.com/xap/1.0/\0"
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

Entry = tuple[int, int, int, bytes]  # tag, type, count, value


def chunk(kind: bytes, payload: bytes) -> bytes:
    check = zlib.crc32(kind + payload)
    return len(payload).to_bytes(4, "big") + kind + payload + check.to_bytes(4, "big")


def png(*chunks: bytes, size: tuple[int, int] = (64, 64), trailer: bytes = b"") -> bytes:
    head = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + b"\x08\x02\0\0\0"
    body = b"".join([chunk(b"IHDR", head), *chunks, chunk(b"IDAT", b"pixels"), chunk(b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body + trailer


def text(keyword: str, value: str) -> bytes:
    return chunk(b"tEXt", keyword.encode() + b"\0" + value.encode())


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def jpeg(*segments: bytes, size: tuple[int, int] = (64, 48), trailer: bytes = b"") -> bytes:
    frame = b"\x08" + size[1].to_bytes(2, "big") + size[0].to_bytes(2, "big") + b"\x01\x01\x11\0"
    scan = segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"coded\xff\x00data\xff\xd0more"
    return b"\xff\xd8" + b"".join(segments) + segment(0xC0, frame) + scan + b"\xff\xd9" + trailer


def tiff(
    image: list[Entry],
    exif: list[Entry] | None = None,
    gps: list[Entry] | None = None,
    order: str = "little",
) -> bytes:
    """A TIFF structure with the entries given, Exif and GPS directories where they are."""

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    directories = [image, exif or [], gps or []]
    sizes = [2 + 12 * len(entries) + 4 for entries in directories]
    sizes[0] += 12 * (bool(exif) + bool(gps))
    starts = [8, 8 + sizes[0], 8 + sizes[0] + sizes[1]]
    pointers: list[Entry] = []
    if exif:
        pointers.append((0x8769, 4, 1, number(starts[1], 4)))
    if gps:
        pointers.append((0x8825, 4, 1, number(starts[2], 4)))
    directories[0] = [*image, *pointers]
    heap_start = 8 + sum(sizes)
    heap = b""
    out = (b"II*\0" if order == "little" else b"MM\0*") + number(8, 4)
    for entries in directories:
        out += number(len(entries), 2)
        for tag, kind, count, value in entries:
            out += number(tag, 2) + number(kind, 2) + number(count, 4)
            if len(value) <= 4:
                out += value.ljust(4, b"\0")
            else:
                out += number(heap_start + len(heap), 4)
                heap += value
        out += bytes(4)
    return out + heap


def ascii_entry(tag: int, value: str) -> Entry:
    data = value.encode() + b"\0"
    return tag, 2, len(data), data


def app1(block: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + block)


def user_comment(payload: bytes) -> Entry:
    return 0x9286, 7, len(payload), payload


def xmp_packet(body: str = "", attributes: str = "") -> bytes:
    namespaces = {
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
        "dcterms": "http://purl.org/dc/terms/",
    }
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in namespaces.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {declared} {attributes}>{body}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


TRAINED_XMP = xmp_packet(
    f"<Iptc4xmpExt:DigitalSourceType>{TRAINED}</Iptc4xmpExt:DigitalSourceType>"
)


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP"
    for kind, payload in chunks:
        body += kind + len(payload).to_bytes(4, "little") + payload + b"\0" * (len(payload) & 1)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def gif(*extensions: bytes) -> bytes:
    image = b"\x2c" + bytes(4) + b"\x01\0\x01\0\0" + b"\x02" + b"\x02\x4c\x01" + b"\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0" + bytes(6) + b"".join(extensions) + image + b";"


def gif_extension(label: int, *blocks: bytes) -> bytes:
    return bytes([0x21, label]) + b"".join(bytes([len(one)]) + one for one in blocks) + b"\0"


def box(kind: bytes, payload: bytes) -> bytes:
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


def heic(items: list[tuple[bytes, bytes]], extra: bytes = b"") -> bytes:
    """A HEIC with `items` (infe type with its tail, content), located by iloc version 1."""
    infos = b""
    for index, (kind, _) in enumerate(items):
        infos += box(b"infe", b"\x02\0\0\0" + (index + 1).to_bytes(2, "big") + b"\0\0" + kind)
    iinf = box(b"iinf", b"\0\0\0\0" + len(items).to_bytes(2, "big") + infos)
    ftyp = box(b"ftyp", b"heic\0\0\0\0mif1heic")
    iloc_size = 8 + 8 + 16 * len(items)
    offset = len(ftyp) + 12 + len(iinf) + iloc_size + len(extra) + 8
    places = b""
    for index, (_, content) in enumerate(items):
        places += (index + 1).to_bytes(2, "big") + bytes(4) + b"\0\x01"
        places += offset.to_bytes(4, "big") + len(content).to_bytes(4, "big")
        offset += len(content)
    iloc = box(b"iloc", b"\x01\0\0\0\x44\0" + len(items).to_bytes(2, "big") + places)
    meta = box(b"meta", bytes(4) + iinf + iloc)
    return ftyp + meta + extra + box(b"mdat", b"".join(content for _, content in items))


def iim(record: int, dataset: int, value: bytes) -> bytes:
    return bytes([0x1C, record, dataset]) + len(value).to_bytes(2, "big") + value


def photoshop(records: bytes) -> bytes:
    return (
        b"8BIM\x04\x04\0\0" + len(records).to_bytes(4, "big") + records + b"\0" * (len(records) & 1)
    )


def samsung_trailer(name: bytes, value: bytes) -> bytes:
    block = b"\0\0\x91\x0d" + len(name).to_bytes(4, "little") + name + value
    size = len(block).to_bytes(4, "little")
    head = b"SEFH\x6b\0\0\0\x01\0\0\0" + b"\0\0\x91\x0d" + size + size
    return block + head + len(head).to_bytes(4, "little") + b"SEFT"


EXIF = tiff([ascii_entry(0x010F, "Canon")], [user_comment(b"ASCII\0\0\0hello")])
HEIC = heic(
    [
        (b"Exif\0", b"\0\0\0\0" + EXIF),
        (b"mime\0application/rdf+xml\0", TRAINED_XMP),
    ]
)
RAW_EXIF = chunk(
    b"zTXt",
    b"Raw profile type exif\0\0"
    + zlib.compress(b"\nexif\n      99\n" + binascii.hexlify(b"Exif\0\0" + EXIF)),
)
GIF_XMP = b"\x21\xff\x0bXMP DataXMP" + TRAINED_XMP + b"\x01" + bytes(range(255, -1, -1)) + b"\0"

# file, media type, signal, name, location, value, where the file's bytes at the offset begin
PLACES: dict[str, tuple[bytes, str, str, str, str, str, bytes]] = {
    "png tEXt": (
        png(text("parameters", PARAMETERS)),
        "image/png", "png_text", "parameters", "PNG:tEXt:parameters", PARAMETERS,
        len(b"parameters\0" + PARAMETERS.encode()).to_bytes(4, "big") + b"tEXt",
    ),
    "png zTXt": (
        png(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(PARAMETERS.encode()))),
        "image/png", "png_text", "parameters", "PNG:zTXt:parameters", PARAMETERS, b"",
    ),
    "png iTXt": (
        png(chunk(b"iTXt", b"parameters\0\0\0en\0x\0" + "日本".encode())),
        "image/png", "png_text", "parameters", "PNG:iTXt:parameters", "日本", b"",
    ),
    "png iTXt compressed": (
        png(chunk(b"iTXt", b"parameters\0\x01\0\0\0" + zlib.compress(b"deep"))),
        "image/png", "png_text", "parameters", "PNG:iTXt:parameters", "deep", b"",
    ),
    "png of ComfyUI's animations": (
        png(chunk(b"comf", b'prompt\0{"1": {}}')),
        "image/png", "png_text", "prompt", "PNG:comf:prompt", '{"1": {}}', b"\0\0\0\x10comf",
    ),
    "png raw profile exif": (
        png(RAW_EXIF), "image/png", "exif", "Make", "EXIF:Make", "Canon", RAW_EXIF,
    ),
    "png eXIf": (
        png(chunk(b"eXIf", EXIF)), "image/png", "exif", "Make", "EXIF:Make", "Canon", b"\x0f\x01",
    ),
    "png XMP in iTXt": (
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + TRAINED_XMP)),
        "image/png", "xmp", "Iptc4xmpExt:DigitalSourceType",
        "XMP:Iptc4xmpExt:DigitalSourceType", TRAINED, b"",
    ),
    "png XMP in tEXt": (
        png(chunk(b"tEXt", b"XML:com.adobe.xmp\0" + TRAINED_XMP)),
        "image/png", "xmp", "Iptc4xmpExt:DigitalSourceType",
        "XMP:Iptc4xmpExt:DigitalSourceType", TRAINED, b"",
    ),
    "png raw profile iptc": (
        png(
            chunk(
                b"zTXt",
                b"Raw profile type iptc\0\0"
                + zlib.compress(
                    b"\niptc\n      24\n"
                    + binascii.hexlify(photoshop(iim(2, 110, b"Made with Google AI")))
                ),
            )
        ),
        "image/png", "iptc", "2:110", "IPTC:Credit", "Made with Google AI", b"",
    ),
    "png trailer": (
        png(trailer=samsung_trailer(b"PEg_Info", b'{"genAIType":8}')),
        "image/png", "trailer", "PEg_Info", "Trailer:Samsung:PEg_Info", '{"genAIType":8}',
        b"\0\0\x91\x0d",
    ),
    "jpeg exif": (
        jpeg(app1(EXIF)), "image/jpeg", "exif", "Make", "EXIF:Make", "Canon", b"\x0f\x01\x02\0",
    ),
    "jpeg xmp": (
        jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + TRAINED_XMP)),
        "image/jpeg", "xmp", "Iptc4xmpExt:DigitalSourceType",
        "XMP:Iptc4xmpExt:DigitalSourceType", TRAINED, b"\xff\xe1",
    ),
    "jpeg comment": (
        jpeg(segment(0xFE, b"hello")), "image/jpeg", "jpeg_comment", "", "File:Comment", "hello",
        b"\xff\xfe",
    ),
    "jpeg iptc": (
        jpeg(segment(0xED, b"Photoshop 3.0\0" + photoshop(iim(2, 40, b"FBMD01000a")))),
        "image/jpeg", "iptc", "2:40", "IPTC:SpecialInstructions", "FBMD01000a", b"\xff\xed",
    ),
    "jpeg label": (
        jpeg(segment(0xE0, b'JFIF\0AIGC{"Label":"1"}')),
        "image/jpeg", "jpeg_app", "AIGC", "APP0:AIGC", 'AIGC{"Label":"1"}', b"\xff\xe0",
    ),
    "jpeg mpf": (
        jpeg(segment(0xE2, b"MPF\0II*\0")), "image/jpeg", "mpf", "", "MPF:MPFVersion", "MPF",
        b"\xff\xe2",
    ),
    "jpeg trailer video": (
        jpeg(trailer=box(b"ftyp", b"mp42")), "image/jpeg", "trailer", "video",
        "Trailer:MotionPhoto", "mp42", b"\0\0\0\x0cftyp",
    ),
    "webp exif": (
        webp((b"VP8X", bytes(10)), (b"EXIF", EXIF)),
        "image/webp", "exif", "UserComment", "EXIF:UserComment", "hello", b"\x86\x92",
    ),
    "webp exif with prefix": (
        webp((b"EXIF", b"Exif\0\0" + EXIF)),
        "image/webp", "exif", "Make", "EXIF:Make", "Canon", b"\x0f\x01",
    ),
    "webp xmp": (
        webp((b"XMP ", TRAINED_XMP)), "image/webp", "xmp", "Iptc4xmpExt:DigitalSourceType",
        "XMP:Iptc4xmpExt:DigitalSourceType", TRAINED, b"XMP ",
    ),
    "heic exif": (HEIC, "image/heic", "exif", "Make", "EXIF:Make", "Canon", b"\x0f\x01"),
    "heic xmp": (
        HEIC, "image/heic", "xmp", "Iptc4xmpExt:DigitalSourceType",
        "XMP:Iptc4xmpExt:DigitalSourceType", TRAINED, b"<?xpacket",
    ),
    "cr3": (
        box(b"ftyp", b"crx \0\0\0\x01crx isom")
        + box(
            b"moov",
            box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + box(b"CMT1", EXIF)),
        ),
        "image/x-canon-cr3", "exif", "Make", "EXIF:Make", "Canon", b"\x0f\x01",
    ),
    "tiff": (EXIF, "image/tiff", "exif", "Make", "EXIF:Make", "Canon", b"\x0f\x01"),
    "raw as its own type": (EXIF, "image/x-nikon-nef", "exif", "Make", "EXIF:Make", "Canon", b""),
    "tiff xmp": (
        tiff([(0x02BC, 1, len(TRAINED_XMP), TRAINED_XMP)]),
        "image/tiff", "xmp", "Iptc4xmpExt:DigitalSourceType",
        "XMP:Iptc4xmpExt:DigitalSourceType", TRAINED, b"\xbc\x02",
    ),
    "raf": (
        b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + (100).to_bytes(4, "big") + bytes(12)
        + jpeg(app1(EXIF)),
        "image/x-fuji-raf", "exif", "Make", "EXIF:Make", "Canon", b"\x0f\x01",
    ),
    "gif comment": (
        gif(gif_extension(0xFE, b"one ", b"two")),
        "image/gif", "gif_comment", "", "GIF:Comment", "one two", b"\x21\xfe",
    ),
    "gif xmp": (
        gif(GIF_XMP), "image/gif", "xmp", "Iptc4xmpExt:DigitalSourceType",
        "XMP:Iptc4xmpExt:DigitalSourceType", TRAINED, b"\x21\xff",
    ),
}  # fmt: skip


def field(metadata: Metadata, signal: str, name: str) -> Field:
    found = [one for one in metadata.fields if (one.signal, one.name) == (signal, name)]
    assert found, [(one.signal, one.name) for one in metadata.fields]
    return found[0]


@pytest.mark.parametrize("case", PLACES)
def test_every_place_is_read_with_its_offset(case: str) -> None:
    data, media_type, signal, name, location, value, start = PLACES[case]
    metadata = read_metadata(data, media_type)
    found = field(metadata, signal, name)
    assert (found.location, found.value) == (location, value)
    assert data[found.offset :].startswith(start)
    assert not metadata.malformed
    assert not metadata.limit_reached


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (jpeg(segment(0xEB, b"JP\0\x01")), "image/jpeg"),
        (png(chunk(b"caBX", b"jumb")), "image/png"),
        (webp((b"C2PA", b"jumb")), "image/webp"),
        (
            box(b"ftyp", b"heic\0\0\0\0")
            + box(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481")),
            "image/heic",
        ),
        (gif(gif_extension(0xFF, b"C2PA_GIF\x01\0\0", b"jumb")), "image/gif"),
        (tiff([(0xCD41, 7, 4, b"jumb")]), "image/tiff"),
    ],
)
def test_manifests_are_noticed_in_every_container(data: bytes, media_type: str) -> None:
    offset = read_metadata(data, media_type).manifest_offset
    assert offset is not None
    assert 0 < offset < len(data)


def test_size_is_taken_from_the_header() -> None:
    for data, media_type in (
        (png(size=(832, 1216)), "image/png"),
        (jpeg(size=(832, 1216)), "image/jpeg"),
        (webp((b"VP8X", bytes(4) + b"\x3f\x03\0\xbf\x04\0")), "image/webp"),
    ):
        metadata = read_metadata(data, media_type)
        assert (metadata.width, metadata.height) == (832, 1216)


def test_extended_xmp_is_joined_in_the_order_of_its_offsets() -> None:
    half = len(TRAINED_XMP) // 2
    parts = [(half, TRAINED_XMP[half:]), (0, TRAINED_XMP[:half])]
    segments = [
        segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + b"A" * 32
            + len(TRAINED_XMP).to_bytes(4, "big")
            + offset.to_bytes(4, "big")
            + part,
        )
        for offset, part in parts
    ]
    metadata = read_metadata(jpeg(*segments), "image/jpeg")
    assert field(metadata, "xmp", "Iptc4xmpExt:DigitalSourceType").value == TRAINED


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("tiff_order", ["little", "big"])
def test_user_comment_is_read_in_the_order_that_its_text_has(order: str, tiff_order: str) -> None:
    block = tiff([], [user_comment(b"UNICODE\0" + PARAMETERS.encode(order))], order=tiff_order)
    metadata = read_metadata(jpeg(app1(block)), "image/jpeg")
    assert field(metadata, "exif", "UserComment").value == PARAMETERS


CHINESE = "一只狐狸\uff0c" * 200 + "\nSteps: 20, Sampler: Euler a, Seed: 1"


@pytest.mark.parametrize("code", [b"UNICODE\0", b"Unicode\0"])
@pytest.mark.parametrize("tiff_order", ["little", "big"])
@pytest.mark.parametrize("written", ["utf-16-be", "utf-16-le", "utf-16", "utf-8"])
@pytest.mark.parametrize("value", [CHINESE, "一一一一" * 300 + PARAMETERS, PARAMETERS])
def test_user_comment_is_read_in_any_language(
    value: str, written: str, tiff_order: str, code: bytes
) -> None:
    # U+4E00, "one", is an N where its bytes are read the other way round.
    block = tiff([], [user_comment(code + value.encode(written))], order=tiff_order)
    metadata = read_metadata(jpeg(app1(block)), "image/jpeg")
    assert field(metadata, "exif", "UserComment").value == value


def test_text_after_the_pixels_is_read() -> None:
    data = png()[:-12] + text("parameters", PARAMETERS) + chunk(b"IEND", b"")
    assert field(read_metadata(data, "image/png"), "png_text", "parameters").value == PARAMETERS


def test_a_file_that_is_no_image_is_left_unread() -> None:
    assert read_provenance(b"hello", None).metadata_status is MetadataStatus.UNREAD


@pytest.mark.parametrize("case", ["png tEXt", "jpeg exif", "webp exif", "heic exif", "gif xmp"])
def test_a_cut_file_gives_what_came_before_the_cut(case: str) -> None:
    data, media_type, signal, name, _, value, _ = PLACES[case]
    statuses = set()
    for end in range(len(data)):
        metadata = read_metadata(data[:end], media_type)
        statuses.add(metadata.malformed)
        for one in metadata.fields:
            if (one.signal, one.name) == (signal, name):
                assert value.startswith(one.value)
    assert True in statuses
    assert read_metadata(data[:-1], media_type).malformed


@pytest.mark.parametrize("case", PLACES)
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_damage_raises(case: str, data: st.DataObject) -> None:
    whole, media_type, *_ = PLACES[case]
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)))
    read_provenance(bytes(damaged[:end]), media_type)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(sorted({case[1] for case in PLACES.values()})))
def test_no_bytes_raise(data: bytes, media_type: str) -> None:
    read_provenance(data, media_type)


def _raw_entries(count: int, kind: int, length: int) -> bytes:
    """A directory whose entries all claim `length` values at the same place."""
    body = b"II*\0\x08\0\0\0" + count.to_bytes(2, "little")
    for index in range(count):
        body += (0x829A + index).to_bytes(2, "little") + kind.to_bytes(2, "little")
        body += length.to_bytes(4, "little") + (8).to_bytes(4, "little")
    return body + bytes(4)


def _billion_laughs() -> bytes:
    entities = '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{("&" + chr(97 + i) + ";") * 10}">' for i in range(9)
    )
    return f"<?xml version='1.0'?><!DOCTYPE x [{entities}]><x>&j;</x>".encode()


def _loop() -> bytes:
    """A directory whose Exif pointer and whose successor both lead back to it."""
    body = b"II*\0\x08\0\0\0\x02\0"
    for tag in (0x8769, 0x8825):
        body += tag.to_bytes(2, "little") + b"\x04\0\x01\0\0\0\x08\0\0\0"
    return body + b"\x08\0\0\0"


HOSTILE: dict[str, tuple[Callable[[], bytes], str, MetadataStatus]] = {
    "exif count of 4 billion": (
        lambda: jpeg(app1(_raw_entries(1, 3, 0xFFFFFFF0))), "image/jpeg", MetadataStatus.MALFORMED,
    ),
    "exif 3,000 fat tags": (
        lambda: jpeg(app1(_raw_entries(3_000, 5, 900))), "image/jpeg",
        MetadataStatus.LIMIT_REACHED,
    ),
    "exif directories in a circle": (
        lambda: jpeg(app1(_loop())), "image/jpeg", MetadataStatus.MALFORMED,
    ),
    "png 200,000 texts": (
        lambda: png(text("parameters", "x") * 200_000), "image/png", MetadataStatus.LIMIT_REACHED,
    ),
    "png 200,000 data chunks": (
        lambda: png(chunk(b"IDAT", b"") * 200_000), "image/png", MetadataStatus.LIMIT_REACHED,
    ),
    "png zTXt bomb": (
        lambda: png(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(20_000_000), 9))),
        "image/png", MetadataStatus.LIMIT_REACHED,
    ),
    "png 300 zTXt bombs": (
        lambda: png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"{" * 10_000_000, 9)) * 300),
        "image/png", MetadataStatus.LIMIT_REACHED,
    ),
    "png 2 MiB of prompts": (
        lambda: png(*(text("parameters", "\nSteps: 1, " * 6_500) for _ in range(60))),
        "image/png", MetadataStatus.LIMIT_REACHED,
    ),
    "png JSON nested 60,000 deep": (
        lambda: png(text("invokeai_metadata", '{"prompt":' * 6_000)), "image/png",
        MetadataStatus.OK,
    ),
    "xmp billion laughs": (
        lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _billion_laughs())),
        "image/png", MetadataStatus.MALFORMED,
    ),
    "xmp nested 10,000 deep": (
        lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<a>" * 10_000)),
        "image/png", MetadataStatus.LIMIT_REACHED,
    ),
    "xmp 300,000 elements": (
        lambda: png(
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<a>" + b"<b/>" * 250_000 + b"</a>")
        ),
        "image/png", MetadataStatus.LIMIT_REACHED,
    ),
    "jpeg 200 xmp packets": (
        lambda: jpeg(segment(0xE1, XMP_KEY + b"<a>b</a>" * 7_000) * 200),
        "image/jpeg", MetadataStatus.LIMIT_REACHED,
    ),
    "jpeg 20 MB of fill bytes": (
        lambda: b"\xff\xd8" + b"\xff" * 20_000_000, "image/jpeg", MetadataStatus.MALFORMED,
    ),
    "jpeg 20 MB of stuffed bytes": (
        lambda: jpeg()[:-2] + b"\xff\0" * 10_000_000, "image/jpeg", MetadataStatus.MALFORMED,
    ),
    "jpeg 500 unclosed labels": (
        lambda: jpeg(segment(0xE5, b"AIGC{" * 13_000) * 500), "image/jpeg", MetadataStatus.OK,
    ),
    "gif 5 million sub-blocks": (
        lambda: gif(b"\x21\xfe" + b"\x01x" * 5_000_000 + b"\0"), "image/gif",
        MetadataStatus.LIMIT_REACHED,
    ),
    "heic a million boxes": (
        lambda: box(b"ftyp", b"heic\0\0\0\0") + box(b"free", b"") * 1_000_000, "image/heic",
        MetadataStatus.LIMIT_REACHED,
    ),
    "heic iloc of 4 billion": (
        lambda: box(b"ftyp", b"heic\0\0\0\0")
        + box(b"meta", bytes(4) + box(b"iloc", b"\x02" + bytes(5) + b"\xff" * 4 + bytes(10**7))),
        "image/heic", MetadataStatus.LIMIT_REACHED,
    ),
    "heic 4,000 items of 65,535 extents of nothing": (
        lambda: box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(4) + box(
            b"iloc", bytes(6) + (4_000).to_bytes(2, "big") + b"\0\1\0\0\xff\xff" * 4_000)),
        "image/heic", MetadataStatus.LIMIT_REACHED,
    ),
    "webp a million chunks": (
        lambda: b"RIFF\xff\xff\xff\x00WEBP" + b"JUNK\0\0\0\0" * 1_000_000,
        "image/webp", MetadataStatus.LIMIT_REACHED,
    ),
    "iptc a million records": (
        lambda: tiff([(0x83BB, 7, 5_000_000, iim(2, 110, b"") * 1_000_000)]), "image/tiff",
        MetadataStatus.LIMIT_REACHED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_cost_no_more_than_a_moment(case: str) -> None:
    build, media_type, status = HOSTILE[case]
    data = build()
    start = time.process_time()
    provenance = read_provenance(data, media_type)
    # The promise is 1 s; a test gives tenfold room.
    assert time.process_time() - start < 10
    assert provenance.metadata_status is status


@pytest.mark.parametrize("element", ["<p:a/>", '<b p:a=""/>'])
def test_a_long_namespace_costs_its_length_once(element: str) -> None:
    packet = f'<a xmlns:p="http://{"x" * 200_000}">{element * 5_000}</a>'.encode()
    data = png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    read_metadata(data, "image/png")  # what is imported first is no matter
    tracemalloc.start()
    metadata = read_metadata(data, "image/png")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (metadata.malformed, metadata.limit_reached) == (False, False)
    assert most < 10 * len(packet)


def test_prefixes_mean_what_the_nearest_element_says() -> None:
    dublin_core, photoshop_namespace = (
        "http://purl.org/dc/elements/1.1/",
        "http://ns.adobe.com/photoshop/1.0/",
    )
    packet = (
        f'<a xmlns="{dublin_core}" xmlns:p="{dublin_core}"><creator Credit="plain">one</creator>'
        f'<b xmlns:p="{photoshop_namespace}" xmlns=""><p:Credit>two</p:Credit><creator>no</creator>'
        "</b><p:creator>three</p:creator><q:Credit>unbound</q:Credit></a>"
    )
    metadata = read_metadata(
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet.encode())), "image/png"
    )
    assert [(one.name, one.value) for one in metadata.fields] == [
        ("dc:creator", "one"),
        ("photoshop:Credit", "two"),
        ("dc:creator", "three"),
    ]


OTHERS = [
    *("xmpMM:Pantry", "xmpMM:Ingredients", "xmpMM:DerivedFrom", "xmpMM:Manifest"),
    *("Iptc4xmpExt:ImageRegion", "Iptc4xmpExt:ArtworkOrObject", "Iptc4xmpExt:RegistryId"),
]


@pytest.mark.parametrize("place", OTHERS)
def test_what_was_placed_in_a_picture_does_not_speak_for_it(place: str) -> None:
    placed = (
        f"<{place}><rdf:Bag><rdf:li"
        f' Iptc4xmpExt:DigitalSourceType="{TRAINED}"><rdf:Description>'
        f"<Iptc4xmpExt:DigitalSourceType>{TRAINED}</Iptc4xmpExt:DigitalSourceType>"
        f"</rdf:Description></rdf:li></rdf:Bag></{place}>"
    )
    packet = xmp_packet(f"{placed}<photoshop:Credit>Ada Example</photoshop:Credit>")
    metadata = read_metadata(
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)), "image/png"
    )
    assert [(one.name, one.value) for one in metadata.fields] == [
        ("photoshop:Credit", "Ada Example")
    ]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["", "photo-2.jpg"], [0]),
        (["uuid:1", "uuid:2"], [0]),
        (["uuid:1", "uuid:1", ""], [0, 1, 2]),
        (["", "uuid:1", ""], [0, 2]),
    ],
)
def test_what_describes_another_resource_does_not_speak_for_the_file(
    names: list[str], read: list[int]
) -> None:
    body = "".join(
        f'<rdf:Description rdf:about="{name}" dc:creator="a{index}">'
        f"<photoshop:Credit>c{index}</photoshop:Credit></rdf:Description>"
        for index, name in enumerate(names)
    )
    packet = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
        f' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">{body}</rdf:RDF>'
    )
    metadata = read_metadata(png(chunk(b"tEXt", b"xmp\0" + packet.encode())), "image/png")
    assert [one.value for one in metadata.fields] == [
        value for index in read for value in (f"a{index}", f"c{index}")
    ]


def test_entities_are_never_expanded() -> None:
    packet = xmp_packet("<dc:creator>&a;</dc:creator>")
    packet = b'<!DOCTYPE x [<!ENTITY a "Midjourney">]>' + packet[packet.index(b"<x:") :]
    metadata = read_metadata(
        png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)), "image/png"
    )
    assert metadata.malformed
    assert metadata.fields == []


def test_caps_hold() -> None:
    for keyword, limit in (("Comment", MAX_VALUE_BYTES), ("prompt", MAX_SETTINGS_BYTES)):
        for length in (limit - 1, limit + 1):
            value = "x" * length
            packed = chunk(b"zTXt", keyword.encode() + b"\0\0" + zlib.compress(value.encode()))
            for one in (text(keyword, value), packed):
                metadata = read_metadata(png(one), "image/png")
                found = field(metadata, "png_text", keyword)
                assert len(found.value) == min(length, limit)
                assert found.is_cut == metadata.limit_reached == (length > limit)
    many = png(*(text(f"key{index}", "x" * 60_000) for index in range(60)))
    metadata = read_metadata(many, "image/png")
    assert sum(len(one.value) for one in metadata.fields) <= MAX_TEXT_BYTES
    assert metadata.limit_reached
    tags = jpeg(app1(_raw_entries(3_000, 1, 1)))
    assert MAX_EXIF_TAGS - 2 <= len(read_metadata(tags, "image/jpeg").tags) <= MAX_EXIF_TAGS


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, fakescan.provenance;"
        "print(*sorted({'numpy', 'PIL', 'torch', 'c2pa', 'exifread', 'cryptography', 'defusedxml'}"
        " & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
