"""Real files, as generators, cameras and editors wrote them; and mutations of them."""

from __future__ import annotations

import csv
import os
import random
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_provenance_container import HOSTILE, PLACES

from fakescan.images import decode_image
from fakescan.provenance import describe, read_pixel_marks, read_provenance, with_evidence
from fakescan.records import DecodedImage, MetadataStatus, Provenance, Says, Source, Tier
from fakescan.sources import sniff_media_type

Row = dict[str, str]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked archive, with its index.csv."""
    archive = Path(os.environ.get("FAKESCAN_TEST_DATA", "/nowhere")) / "provenance_dev.tar"
    if not archive.exists():
        pytest.skip("no provenance_dev.tar under $FAKESCAN_TEST_DATA")
    folder = tmp_path_factory.mktemp("provenance")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def read_rows(folder: Path) -> list[Row]:
    with (folder / "index.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="session")
def readings(files: Path) -> list[tuple[Row, Provenance]]:
    """Every row with all that its file says, pixels included where they decode."""
    found = []
    for row in read_rows(files):
        data = (files / row["path"]).read_bytes()
        provenance = read_provenance(data, sniff_media_type(data))
        image = decode_image(Source(row["path"]), data)
        if isinstance(image, DecodedImage):
            marks = read_pixel_marks(image, watermarks=True)
            provenance = with_evidence(provenance, marks)
        found.append((row, provenance))
    return found


def declares(provenance: Provenance, says: Says) -> bool:
    return any(one.says is says and one.tier is not Tier.WEAK for one in provenance.evidence)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged TIFF
def test_every_ai_file_is_found_and_no_other(readings: list[tuple[Row, Provenance]]) -> None:
    assert len(readings) == 86
    assert [
        row["path"]
        for row, provenance in readings
        if declares(provenance, Says.AI) != (row["expected"] == "ai")
    ] == []


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_ai_file_names_its_generator(readings: list[tuple[Row, Provenance]]) -> None:
    for row, provenance in readings:
        if row["expected"] == "ai":
            assert provenance.generator, row["path"]
            assert describe(provenance)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_cameras_speak_for_cameras(readings: list[tuple[Row, Provenance]]) -> None:
    for row, provenance in readings:
        if row["expected"] == "camera":
            assert any(one.says is Says.CAMERA for one in provenance.evidence), row["path"]
            assert provenance.camera_model, row["path"]
            assert "forged" in describe(provenance)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_proof_comes_from_trusted_signers_alone(readings: list[tuple[Row, Provenance]]) -> None:
    proven = {
        row["path"].split("__")[-1]: provenance.credential
        for row, provenance in readings
        if any(one.tier is Tier.PROOF for one in provenance.evidence)
    }
    assert set(proven) == {
        "firefly-1.png",
        "bing_creator_cloud_surfing_puppy.jpg",
        "DALL-E_cloud_surfing_puppy.webp",
        "samsung_black_1.png",
    }
    assert all(one and one.validation_state == "Trusted" for one in proven.values())


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whole_files_are_read_whole(readings: list[tuple[Row, Provenance]]) -> None:
    for row, provenance in readings:
        if row["expected"] == "ai":
            assert provenance.metadata_status is MetadataStatus.OK, row["path"]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A damaged copy: bytes changed, a run repeated or cut out, the end cut off."""
    damaged = bytearray(data)
    # Metadata stands mostly at the front; damage all over would mostly hit pixels.
    reach = len(damaged) if chance.random() < 0.3 else min(len(damaged), 4_096)
    for _ in range(chance.randint(1, 12)):
        position = chance.randrange(reach)
        damaged[position] = chance.choice((0, 0xFF, 0x7F, chance.randrange(256)))
    if chance.random() < 0.3:
        position, length = chance.randrange(reach), chance.randrange(1, 64)
        run = damaged[position : position + length]
        damaged[position : position + length] = run * chance.choice((0, 2, 40))
    if chance.random() < 0.2:
        del damaged[chance.randrange(len(damaged)) :]
    return bytes(damaged)


@pytest.mark.slow
def test_mutated_files_are_survived() -> None:
    chance = random.Random(20261121)
    cases = [(case[0], case[1]) for case in PLACES.values()]
    slowest = 0.0
    for _ in range(3_000):
        data, media_type = chance.choice(cases)
        damaged = mutate(data, chance)
        start = time.process_time()
        describe(read_provenance(damaged, media_type))
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 10


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(600)
def test_mutated_real_files_are_survived(files: Path) -> None:
    chance = random.Random(7)
    contents = [(files / row["path"]).read_bytes() for row in read_rows(files)]
    for _ in range(1_000):
        data = chance.choice(contents)
        damaged = mutate(data, chance)
        start = time.process_time()
        provenance = read_provenance(damaged, sniff_media_type(data))
        assert time.process_time() - start < 10
        describe(provenance)


def iterate_hostile() -> Iterator[tuple[bytes, str]]:
    for build, media_type, _ in HOSTILE.values():
        yield build(), media_type


@pytest.mark.slow
def test_hostile_files_stay_small_in_memory() -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    for data, media_type in iterate_hostile():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        read_provenance(data, media_type)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 200 * 1024  # KiB
