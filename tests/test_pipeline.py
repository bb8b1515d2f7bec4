from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    BRIGHT,
    CARD,
    DARK,
    GREY,
    SUFFIXES,
    FakeBackend,
    declared_ai,
    noisy,
    plain,
    png_bomb,
    png_chunk,
    png_with_chunks,
    save_tiny_model,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakescan import pipeline
from fakescan.gates import PHOTO_GATES
from fakescan.images import compute_sha256, decode_image
from fakescan.pipeline import ScanOptions, scan, scan_batch
from fakescan.preparation import Prepared, prepare
from fakescan.records import (
    DecodedImage,
    FakescanError,
    Finding,
    MetadataStatus,
    Reason,
    Source,
    Status,
    Unreadable,
    Verdict,
)
from fakescan.store import Store
from fakescan.weights import Domain, Threshold, Thresholds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    top.mkdir()
    return top


def write(folder: Path, **pictures: bytes) -> None:
    """Files named like the keywords, `_` standing for the dot, changed long ago."""
    for name, data in pictures.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(data)
        os.utime(path, ns=(1, 1_700_000_000_000_000_000))


def findings(*paths: Path, store: Store | None = None, **options: Any) -> dict[str, Finding]:
    found = scan(paths, ScanOptions(**options), store=store)
    return {os.path.basename(finding.source.path): finding for finding in found}


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "fakescan-read" in thread.name]


@pytest.fixture
def mixed(folder: Path) -> Path:
    """Thirty files: readable, broken, of no model's size, of one window and of many."""
    for number in range(24):
        size = ((32, 32), (70, 50), (100, 33), (16, 16))[number % 4]
        (folder / f"{number:02}.png").write_bytes(noisy(number, size))
    (folder / "24.png").write_bytes(b"")
    (folder / "25.png").write_bytes(noisy(25)[:100])
    (folder / "26.png").write_bytes(b"junk")
    (folder / "27.png").write_bytes(declared_ai())
    (folder / "28.png").symlink_to("gone.png")
    os.mkfifo(folder / "29.png")
    return folder


# One finding a source, in order, whatever the workers


def test_every_source_gives_one_finding_in_order(mixed: Path, fake_backend: FakeBackend) -> None:
    found = list(scan([mixed]))
    assert [os.path.basename(finding.source.path) for finding in found] == [
        f"{number:02}.png" for number in range(30)
    ]
    assert [finding.status for finding in found[24:]] == [
        Status.EMPTY,
        Status.TRUNCATED,
        Status.NOT_AN_IMAGE,
        Status.OK,
        Status.NOT_FOUND,
        Status.NOT_A_REGULAR_FILE,
    ]
    assert all((finding.verdict is None) == (finding.status != Status.OK) for finding in found)


@settings(
    max_examples=25,
    deadline=None,
    # The folder is only read, and the backend keeps nothing that matters.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batch_size=st.integers(1, 70), workers=st.integers(1, 8))
def test_batch_size_and_workers_change_nothing(
    mixed: Path, fake_backend: FakeBackend, batch_size: int, workers: int
) -> None:
    expected = list(scan([mixed], ScanOptions(batch_size=1, workers=1)))
    assert list(scan([mixed], ScanOptions(batch_size=batch_size, workers=workers))) == expected


def test_batches_are_full_and_no_larger_than_asked(mixed: Path, fake_backend: FakeBackend) -> None:
    list(scan([mixed], ScanOptions(batch_size=7)))
    assert max(fake_backend.batches) == 7
    assert sum(size < 7 for size in fake_backend.batches) <= len(fake_backend.batches) / 2


@pytest.mark.parametrize("crops", [1, 4, 8])
def test_windows_and_their_mean(folder: Path, fake_backend: FakeBackend, crops: int) -> None:
    write(folder, a_png=noisy(1, (200, 120)))
    (finding,) = scan([folder], ScanOptions(crops=crops))
    assert finding.model is not None
    output = finding.model.output
    assert 1 <= len(output.crops) <= crops
    assert output.logit == pytest.approx(sum(c.logit for c in output.crops) / len(output.crops))
    assert (output.name, output.backend, output.precision) == ("brightness", "fake", "fp32")
    image = decode_image(Source("a"), noisy(1, (200, 120)))
    assert isinstance(image, DecodedImage)
    for crop in output.crops:
        window = image.pixels[crop.y : crop.y + 32, crop.x : crop.x + 32]
        assert crop.logit == pytest.approx((window.mean() - 127.5) / 16, abs=1e-5)


@pytest.mark.parametrize(
    ("level", "verdict"),
    [(BRIGHT, Verdict.AI), (GREY, Verdict.UNCERTAIN), (DARK, Verdict.REAL)],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_judged(
    folder: Path, fake_backend: FakeBackend, suffix: str, level: int, verdict: Verdict
) -> None:
    (folder / f"a{suffix}").write_bytes(plain(level, suffix=suffix))
    (finding,) = scan([folder])
    assert (finding.verdict, finding.decided_by) == (verdict, "model")
    assert finding.measurement.media_type == SUFFIXES[suffix]


def test_the_public_unit_measures_as_the_scan_does(mixed: Path, fake_backend: FakeBackend) -> None:
    images = [
        decode_image(Source(str(path)), path.read_bytes()) for path in sorted(mixed.iterdir())[:28]
    ]
    expected = [finding.measurement for finding in scan([mixed])][:28]
    assert scan_batch(images, [fake_backend], ScanOptions(batch_size=3)) == expected


# Models and their domains


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("workers", 0),
        ("crops", 0),
        ("crops", 65),
        ("max_pixels", 0),
        ("max_false_positive_rate", float("nan")),
        ("max_false_positive_rate", 0.6),
        ("remote_seconds", 0.0),
        ("decode_seconds", 0.0),
        ("decode_memory", 1),
    ],
)
def test_numbers_out_of_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(FakescanError, match=name):
        ScanOptions(**{name: value})


def test_the_first_model_whose_domain_admits_the_picture_judges_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(CARD, name="small", sha256="01" * 32, domain=Domain(32, 32, "small"))
    large = replace(CARD, name="large", sha256="02" * 32, domain=Domain(32, None, "any"))
    loaded = (FakeBackend(small), FakeBackend(large))
    monkeypatch.setattr(pipeline, "load_detectors", lambda options: loaded)
    write(folder, a_png=plain(), b_png=plain(size=(33, 32)), c_png=plain(size=(1, 20_000)))
    found = findings(folder)
    names = {name: f.model and f.model.output.name for name, f in found.items()}
    assert names == {"a.png": "small", "b.png": "large", "c.png": None}
    assert (found["c.png"].verdict, found["c.png"].reason) == (
        Verdict.UNCERTAIN,
        Reason.NO_MODEL_FOR_SIZE,
    )


def test_a_picture_behind_the_gates_is_judged_by_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = replace(CARD, name="gated", sha256="01" * 32, gates=PHOTO_GATES)
    other = replace(CARD, name="other", sha256="02" * 32, domain=Domain(8, None, "any"))
    loaded = (FakeBackend(gated), FakeBackend(other))
    monkeypatch.setattr(pipeline, "load_detectors", lambda options: loaded)
    write(folder, flat_png=plain(size=(128, 128)), noisy_png=noisy(1, (128, 128)))
    found = findings(folder)
    flat, textured = found["flat.png"], found["noisy.png"]
    assert (flat.verdict, flat.reason) == (Verdict.UNCERTAIN, Reason.TOO_DEGRADED)
    assert (flat.model, flat.score) == (None, None)
    assert textured.model is not None
    assert textured.model.output.name == "gated"
    # In another process too.
    assert findings(folder, isolate=True)["flat.png"] == flat


def test_without_a_model_metadata_still_decides(folder: Path) -> None:
    write(folder, a_png=declared_ai(), b_png=plain(BRIGHT))
    running = scan([folder])
    assert running.cards == ()
    declared, other = running
    assert (declared.verdict, declared.reason) == (Verdict.AI, Reason.DECLARED_AI)
    generator = declared.measurement.provenance.generator
    assert generator is not None and generator.startswith("Stable Diffusion")
    assert (other.verdict, other.reason) == (Verdict.UNCERTAIN, Reason.NO_MODEL_FOR_SIZE)
    assert declared.score is other.score is None


def test_a_real_network_scans(folder: Path, tiny_model: Path) -> None:
    write(folder, a_png=noisy(1), b_png=noisy(2, (64, 64)))
    found = findings(folder, models=(str(tiny_model),), device="cpu")
    assert all(finding.score is not None for finding in found.values())
    assert found["a.png"].model is not None
    assert found["a.png"].model.output.backend == "torch"


def test_what_cannot_be_is_said_before_anything_is_read(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "read_bytes", lambda *a, **k: pytest.fail("read"))
    write(folder, a_png=plain())
    with pytest.raises(FakescanError, match="there is no model 'gone'"):
        scan([folder], ScanOptions(models=("gone",)))
    with pytest.raises(FakescanError, match=r"can promise no less than 0\.005"):
        scan([folder], ScanOptions(models=(str(tiny_model),), max_false_positive_rate=1e-4))
    with tiny_model.open("ab") as file:
        file.write(b"x")
    with pytest.raises(FakescanError, match="SHA-256"):
        scan([folder], ScanOptions(models=(str(tiny_model),)))


def test_a_broken_network_never_breaks_the_scan(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.setattr(
        fake_backend, "logits", lambda crops: np.full(len(crops), np.nan, np.float32)
    )
    write(folder, a_png=plain())
    (finding,) = scan([folder])
    assert finding.verdict is Verdict.UNCERTAIN


# Broken files


def test_broken_files_never_reach_the_backend(folder: Path, fake_backend: FakeBackend) -> None:
    for number in range(200):
        (folder / f"{number}.jpg").write_bytes(b"junk" * number)
    found = list(scan([folder], ScanOptions(batch_size=16)))
    assert len(found) == 200
    assert {finding.status for finding in found} == {Status.EMPTY, Status.NOT_AN_IMAGE}
    assert fake_backend.batches == []


def test_a_file_deleted_between_listing_and_reading(
    folder: Path, fake_backend: FakeBackend
) -> None:
    write(folder, a_png=plain(), b_png=plain(), c_png=plain())
    running = scan([str(folder / "a.png"), str(folder / "b.png")], ScanOptions(workers=1))
    sources = iter(running._measuring._sources)

    def remove_then_give() -> Iterator[Source]:
        for source in sources:
            if source.path.endswith("b.png"):
                os.unlink(source.path)
            yield source

    running._measuring._sources = remove_then_give()
    statuses = [finding.status for finding in running]
    assert statuses == [Status.OK, Status.NOT_FOUND]


def test_unreadable_files_keep_what_their_metadata_says(
    folder: Path, fake_backend: FakeBackend
) -> None:
    data = declared_ai()
    write(folder, a_png=data[: data.index(b"IDAT") + 6], b_png=b"", c_png=b"nothing")
    found = findings(folder)
    cut = found["a.png"]
    assert cut.status is Status.TRUNCATED
    assert cut.verdict is None
    assert [piece.rule for piece in cut.measurement.provenance.evidence]
    assert cut.measurement.sha256 is not None
    assert found["c.png"].measurement.provenance.metadata_status is MetadataStatus.UNREAD


def test_bombs_and_many_chunks_take_no_time(folder: Path, fake_backend: FakeBackend) -> None:
    write(folder, bomb_png=png_bomb())
    chunks = (png_chunk(b"tEXt", b"k\0%d" % number) for number in range(200_000))
    write(folder, chunks_png=png_with_chunks(*chunks))
    began = time.monotonic()
    found = findings(folder)
    # A margin for slow machines: they take a few tenths of a second.
    assert time.monotonic() - began < 2
    assert found["bomb.png"].status is Status.TOO_LARGE
    assert found["chunks.png"].status is Status.OK
    assert found["chunks.png"].measurement.provenance.metadata_status is (
        MetadataStatus.LIMIT_REACHED
    )


@pytest.mark.parametrize(
    "name",
    [b"new\nline.png", b"quo\"te's.png", b"=SUM(A1).png", b"\xff\xfe.png", b" .png", b"-rf.png"],
)
def test_odd_names(folder: Path, fake_backend: FakeBackend, name: bytes) -> None:
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        file.write(plain(BRIGHT))
    (finding,) = scan([folder])
    assert os.path.basename(os.fsencode(finding.source.path)) == name
    assert finding.verdict is Verdict.AI


def test_pixels_above_the_limit_are_not_decoded(folder: Path, fake_backend: FakeBackend) -> None:
    write(folder, a_png=plain(size=(40, 40)))
    assert findings(folder, max_pixels=1599)["a.png"].status is Status.TOO_LARGE
    assert findings(folder, max_pixels=1600)["a.png"].status is Status.OK


# Stopping early


def test_an_abandoned_scan_stops_reading(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (folder / f"{number:03}.png").write_bytes(plain())
    decoded: list[str] = []

    def note(source: Source, data: bytes, **options: Any) -> DecodedImage | Unreadable:
        decoded.append(source.path)
        return decode_image(source, data, **options)

    monkeypatch.setattr(pipeline, "decode_image", note)
    running = scan([folder], ScanOptions(batch_size=4, workers=3))
    next(running)
    assert readers()
    running.close()
    assert readers() == []
    assert len(decoded) < 100
    assert list(running) == []


def test_a_scan_that_never_began_holds_nothing(folder: Path, fake_backend: FakeBackend) -> None:
    running = scan([folder])
    running.close()
    assert list(running) == []
    assert readers() == []


# The store


@pytest.mark.parametrize("part", ["catalogue_digest", "decoder_versions", "credential_reader"])
def test_other_marks_and_decoders_measure_anew(
    fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    before = pipeline.settings_key([fake_backend], ScanOptions())
    assert pipeline.settings_key([fake_backend], ScanOptions()) == before
    monkeypatch.setattr(pipeline, part, lambda: "another")
    assert pipeline.settings_key([fake_backend], ScanOptions()) != before


def test_files_that_took_each_others_names_are_not_mixed_up(
    folder: Path, fake_backend: FakeBackend, tmp_path: Path
) -> None:
    # Of one size and time, as datasets unpack them.
    for name, level in (("a.bmp", 40), ("b.bmp", 200)):
        (folder / name).write_bytes(plain(level, suffix=".bmp"))
        os.utime(folder / name, (10**9, 10**9))
    with Store(tmp_path / "store.sqlite3") as store:
        first = findings(folder, store=store)
        for old, new in (("a.bmp", "c"), ("b.bmp", "a.bmp"), ("c", "b.bmp")):
            (folder / old).rename(folder / new)
        second = findings(folder, store=store)
    assert second["a.bmp"].measurement == first["b.bmp"].measurement
    assert second["b.bmp"].measurement == first["a.bmp"].measurement


@contextmanager
def no_decoding() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "decode_image", lambda *a, **k: pytest.fail("decoded"))
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite3") as opened:
        yield opened


def test_a_second_scan_decodes_nothing_and_says_the_same(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    write(folder, a_png=noisy(1), b_png=b"", c_png=declared_ai(), d_png=noisy(2)[:90])
    first = findings(folder, store=store)
    with no_decoding():
        assert findings(folder, store=store) == first
    assert len(fake_backend.batches) == 1


def test_a_known_file_is_not_even_read(
    folder: Path, fake_backend: FakeBackend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, a_png=plain())
    first = findings(folder, store=store)
    monkeypatch.setattr(pipeline, "read_bytes", lambda *a, **k: pytest.fail("read"))
    assert findings(folder, store=store) == first


def test_a_scan_goes_on_where_it_was_stopped(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    for number in range(40):
        write(folder, **{f"{number:02}_png": noisy(number)})
    running = scan([folder], ScanOptions(batch_size=4), store=store)
    begun = [next(running) for _ in range(12)]
    running.close()
    fake_backend.batches.clear()
    again = list(scan([folder], ScanOptions(batch_size=4), store=store))
    assert again[:12] == begun
    assert sum(fake_backend.batches) == 28


def test_thresholds_change_without_measuring_again(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    write(folder, a_png=plain(150))  # 0.8031
    assert findings(folder, store=store)["a.png"].verdict is Verdict.UNCERTAIN
    with no_decoding():
        loose = findings(folder, store=store, max_false_positive_rate=0.05)["a.png"]
        assert loose.verdict is Verdict.AI
        table = Thresholds(ai=(Threshold(0.01, 0.7, 1000),), real=Threshold(0.05, 0.1, 1000))
        fake_backend.card = replace(CARD, thresholds=table)
        assert findings(folder, store=store)["a.png"].verdict is Verdict.AI


def test_content_moved_to_another_name_is_known(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    write(folder, a_png=plain(BRIGHT))
    before = findings(folder, store=store)["a.png"]
    (folder / "a.png").rename(folder / "b.png")
    with no_decoding():
        after = findings(folder, store=store)["b.png"]
    assert after.measurement == before.measurement
    assert after.source.path.endswith("b.png")


def test_another_suffix_that_changes_decoding_is_not_the_same(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    data = plain(suffix=".tiff")
    write(folder, a_tiff=data, b_nef=data)
    found = findings(folder, store=store)
    assert found["a.tiff"].status is Status.OK
    assert found["b.nef"].status is Status.UNSUPPORTED_FORMAT
    assert findings(folder, store=store) == found


@pytest.mark.parametrize("option", [{"crops": 1}, {"max_pixels": 10_000}])
def test_what_changes_a_measurement_measures_again(
    folder: Path, fake_backend: FakeBackend, store: Store, option: dict[str, int]
) -> None:
    write(folder, a_png=noisy(1, (64, 64)))
    findings(folder, store=store)
    fake_backend.batches.clear()
    findings(folder, store=store, **option)
    assert fake_backend.batches


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "0a" * 32},
        {"version": "1.0.1"},
        {"domain": Domain(8, 256, "smaller ones too")},
        {"input": replace(CARD.input, mirror=True)},
        {"gates": replace(PHOTO_GATES, maximum_drawn_share=0.5)},
    ],
)
def test_another_card_measures_again(
    folder: Path, fake_backend: FakeBackend, store: Store, change: dict[str, Any]
) -> None:
    write(folder, a_png=plain())
    findings(folder, store=store)
    fake_backend.batches.clear()
    fake_backend.card = replace(CARD, **change)
    findings(folder, store=store)
    assert fake_backend.batches


def test_rescan_measures_what_is_known(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    write(folder, a_png=plain())
    first = findings(folder, store=store)
    assert findings(folder, store=store, rescan=True) == first
    assert len(fake_backend.batches) == 2


def test_a_changed_file_is_measured_again(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    write(folder, a_png=plain(BRIGHT))
    assert findings(folder, store=store)["a.png"].verdict is Verdict.AI
    (folder / "a.png").write_bytes(plain(DARK))
    os.utime(folder / "a.png", ns=(1, 1_700_000_001_000_000_000))
    assert findings(folder, store=store)["a.png"].verdict is Verdict.REAL


def test_errors_of_the_moment_are_not_remembered(
    folder: Path, fake_backend: FakeBackend, store: Store
) -> None:
    write(folder, a_png=plain(BRIGHT))
    with pytest.MonkeyPatch.context() as patch:

        def deny(source: Source) -> None:
            raise PermissionError(errno.EACCES, "denied")

        patch.setattr(Source, "open", deny)
        assert findings(folder, store=store)["a.png"].status is Status.PERMISSION_DENIED
    assert findings(folder, store=store)["a.png"].verdict is Verdict.AI


def test_what_may_be_for_want_of_memory_is_not_remembered(
    folder: Path, fake_backend: FakeBackend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, a_png=plain(BRIGHT))

    def blame(self: object, source: Source, data: bytes, *rest: object) -> Prepared:
        unread = Unreadable(source, Status.CORRUPT, sha256=compute_sha256(data))
        return prepare(unread, [], crops=1)

    # As a decoder says it that a limit of memory stopped.
    monkeypatch.setattr("fakescan.preparation.IsolatedPreparation.__call__", blame)
    isolated = findings(folder, store=store, isolate=True)
    assert isolated["a.png"].status is Status.CORRUPT
    assert findings(folder, store=store)["a.png"].verdict is Verdict.AI


def test_a_real_network_and_its_store_agree(folder: Path, tmp_path: Path, store: Store) -> None:
    weights = save_tiny_model(tmp_path / "models")
    write(folder, a_png=noisy(1, (64, 64)))
    options = {"models": (str(weights),), "device": "cpu"}
    first = findings(folder, store=store, **options)
    with no_decoding():
        assert findings(folder, store=store, **options) == first


# The files that show what scans meet in the world


@pytest.mark.data
def test_files_with_marks_of_origin_each_give_a_row(
    test_data: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    import tarfile

    archive = test_data / "provenance_dev.tar"
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
        names = {
            os.path.basename(member.name)
            for member in opened
            if member.isfile() and not member.name.endswith("index.csv")
        }
    running = scan([tmp_path])
    rows, slowest = set(), 0.0
    while True:
        began = time.monotonic()
        finding = next(running, None)
        if finding is None:
            break
        slowest = max(slowest, time.monotonic() - began)
        rows.add(os.path.basename(finding.source.path))
    assert rows == names
    assert slowest < 20
