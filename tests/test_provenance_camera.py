"""The camera's side of EXIF, and what contradicts it."""

from __future__ import annotations

import pytest
from test_provenance_container import (
    Entry,
    app1,
    ascii_entry,
    jpeg,
    png,
    segment,
    tiff,
    user_comment,
)

from fakescan.provenance import describe, read_provenance
from fakescan.records import Evidence, MetadataStatus, Provenance, Says, Tier

CANON_NOTE = b"\x20\0\x01\0\x03\0" + bytes(300)


def ratio(tag: int, numerator: int, denominator: int, order: str = "little") -> Entry:
    value = b"".join(n.to_bytes(4, order) for n in (numerator, denominator))  # type: ignore[arg-type]
    return tag, 5, 1, value


def short(tag: int, value: int, order: str = "little") -> Entry:
    return tag, 3, 1, value.to_bytes(2, order)  # type: ignore[arg-type]


EXPOSURE = [ratio(0x829A, 1, 250), ratio(0x829D, 28, 10), short(0x8827, 400), ratio(0x920A, 50, 1)]
TAKEN = ascii_entry(0x9003, "2019:03:02 10:11:12")


def names(make: str, model: str) -> list[Entry]:
    return [ascii_entry(0x010F, make), ascii_entry(0x0110, model)]


def note(value: bytes) -> Entry:
    return 0x927C, 7, len(value), value


def read(*blocks: bytes, size: tuple[int, int] = (64, 48)) -> Provenance:
    return read_provenance(jpeg(*(app1(block) for block in blocks), size=size), "image/jpeg")


def rule(provenance: Provenance, name: str) -> Evidence | None:
    return next((one for one in provenance.evidence if one.rule == name), None)


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_camera_is_read_in_either_byte_order(order: str) -> None:
    exposure = [ratio(0x829A, 1, 250, order), ratio(0x829D, 28, 10, order)]
    exposure += [
        short(0x8827, 400, order),
        TAKEN,
        ascii_entry(0x9011, "+01:00"),
        ascii_entry(0xA434, "EF 50mm f/1.8"),
    ]
    image = [*names("Canon", "Canon EOS 5D"), ascii_entry(0x0131, "Firmware 1.1")]
    provenance = read(tiff(image, exposure, order=order))
    assert provenance.camera_make == "Canon"
    assert provenance.camera_model == "Canon EOS 5D"
    assert provenance.lens_model == "EF 50mm f/1.8"
    assert provenance.date_time_original == "2019-03-02T10:11:12+01:00"
    assert provenance.software == "Firmware 1.1"
    assert not provenance.has_gps
    assert provenance.metadata_status is MetadataStatus.OK
    evidence = rule(provenance, "camera-exif")
    assert evidence is not None
    assert (evidence.says, evidence.tier, evidence.source) == (
        Says.CAMERA,
        Tier.WEAK,
        "Canon EOS 5D",
    )
    assert "1/250" in evidence.value


def test_an_offset_is_given_only_where_exif_states_one() -> None:
    assert read(tiff([], [TAKEN])).date_time_original == "2019-03-02T10:11:12"


@pytest.mark.parametrize(
    "date", ["0000:00:00 00:00:00", "    :  :     :  :  ", "2019:13:02 10:11:12", "yesterday", ""]
)
def test_an_unset_clock_is_no_date(date: str) -> None:
    assert read(tiff([], [ascii_entry(0x9003, date)])).date_time_original is None


def test_gps_needs_a_position() -> None:
    latitude = (2, 5, 3, b"\x01\0\0\0" * 6)
    longitude = (4, 5, 3, b"\x02\0\0\0" * 6)
    assert read(tiff([], gps=[latitude, longitude])).has_gps
    assert not read(tiff([], gps=[latitude])).has_gps
    assert not read(tiff([], gps=[(2, 5, 3, bytes(24)), (4, 5, 3, bytes(24))])).has_gps


@pytest.mark.parametrize(
    ("make", "head"),
    [
        ("NIKON CORPORATION", b"Nikon\0\x02\x10"),
        ("Apple", b"Apple iOS\0"),
        ("FUJIFILM", b"FUJIFILM"),
        ("OM Digital Solutions", b"OM SYSTEM\0"),
        ("RICOH IMAGING COMPANY, LTD.", b"AOC\0"),
        ("Canon", CANON_NOTE[:6]),
    ],
)
def test_a_maker_note_of_its_make_speaks_for_a_camera(make: str, head: bytes) -> None:
    block = tiff(names(make, "X"), [note(head + bytes(300))])
    evidence = rule(read(block), "maker-note")
    assert evidence is not None
    assert (evidence.says, evidence.tier) == (Says.CAMERA, Tier.STRONG)


def test_a_maker_note_of_another_make_speaks_against_it() -> None:
    provenance = read(tiff(names("Canon", "EOS"), [note(b"Nikon\0\x02\x10" + bytes(300))]))
    assert rule(provenance, "maker-note") is None
    assert rule(provenance, "maker-note-of-another") is not None


def test_a_scrap_of_a_maker_note_is_nothing() -> None:
    assert rule(read(tiff(names("Nikon", "D5"), [note(b"Nikon\0\x02\x10")])), "maker-note") is None


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000 \u2003"])
def test_a_make_of_blanks_is_none(blank: str) -> None:
    provenance = read(tiff([*names(blank, "X100"), *EXPOSURE]))
    assert (provenance.camera_make, provenance.camera_model) == (None, "X100")
    assert describe(provenance).startswith("X100; ")
    assert describe(read(tiff(names("Sony", blank)))).startswith("Sony; ")


def test_a_workflow_in_make_is_no_camera() -> None:
    workflow = '{"last_node_id":1,"nodes":[{"type":"KSampler"}]}'
    make = ascii_entry(0x010F, "workflow:" + workflow)
    provenance = read(tiff([make, ascii_entry(0x0110, "x")], EXPOSURE))
    assert provenance.camera_make is None
    assert rule(provenance, "camera-exif") is None
    assert rule(provenance, "comfyui-workflow") is not None


def test_a_games_screenshot_is_no_camera() -> None:
    provenance = read(tiff(names("Polyphony Digital Inc.", "Gran Turismo 5"), EXPOSURE))
    assert provenance.camera_make is None
    assert rule(provenance, "camera-exif") is None
    assert rule(provenance, "game-screenshot") is not None


def test_exposure_without_a_make_is_a_hint() -> None:
    exposure = [*EXPOSURE, short(0x9207, 5)]
    evidence = rule(read(tiff([], exposure)), "exposure-without-make")
    assert evidence is not None
    assert evidence.tier is Tier.WEAK


@pytest.mark.parametrize(
    ("size", "exposure", "expected"),
    [
        ((1024, 1024), [], True),
        ((832, 1216), [], True),
        ((1024, 1024), EXPOSURE, False),
        ((2048, 1536), [], False),  # a camera's 4:3, though both sides are multiples of 64
        ((1000, 1000), [], False),
        ((4032, 3008), [], False),
    ],
)
def test_a_camera_without_exposure_at_a_generators_size_is_only_a_hint(
    size: tuple[int, int], exposure: list[Entry], expected: bool
) -> None:
    provenance = read(tiff(names("Canon", "EOS"), exposure), size=size)
    evidence = rule(provenance, "camera-without-exposure")
    assert (evidence is not None) is expected
    if evidence:
        assert evidence.tier is Tier.WEAK


def test_latin_text_is_read() -> None:
    image = [(0x010F, 2, 6, b"Caf\xe9s\0"), ascii_entry(0x0110, "X")]
    assert read(tiff(image)).camera_make == "Cafés"


def test_camera_evidence_points_into_the_file() -> None:
    data = jpeg(app1(tiff(names("Canon", "Canon EOS 5D"), EXPOSURE)))
    evidence = rule(read_provenance(data, "image/jpeg"), "camera-exif")
    assert evidence is not None
    assert evidence.offset is not None
    assert data[evidence.offset :].startswith(b"\x0f\x01\x02\0")


def test_raw_files_are_read() -> None:
    block = tiff(names("NIKON CORPORATION", "NIKON D5"), EXPOSURE)
    for media_type in ("image/tiff", "image/x-adobe-dng", "image/x-nikon-nef"):
        assert read_provenance(block, media_type).camera_model == "NIKON D5"


def test_camera_metadata_does_not_hide_a_generators_mark() -> None:
    comment = user_comment(b"ASCII\0\0\0x\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    block = tiff(names("Canon", "EOS"), [*EXPOSURE, note(CANON_NOTE), comment])
    provenance = read(block)
    assert rule(provenance, "maker-note") is not None
    assert any(one.says is Says.AI and one.tier is Tier.STRONG for one in provenance.evidence)


def test_bare_files_say_nothing() -> None:
    for data, media_type in (
        (jpeg(segment(0xE0, b"JFIF\0\x01\x01" + bytes(7))), "image/jpeg"),
        (png(), "image/png"),
    ):
        assert read_provenance(data, media_type) == Provenance()
