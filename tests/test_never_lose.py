"""A scan that is stopped, starved or deceived goes on, and no file goes missing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import CHECKOUT, FakeBackend, Spawn, declared_ai, noisy, plain

from fakescan import images, preparation
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import Finding, Reason, Status
from fakescan.store import Store

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fakescan.records import UInt8Array


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    top.mkdir()
    return top


def fill(folder: Path, count: int, size: tuple[int, int] = (32, 32)) -> None:
    for number in range(count):
        path = folder / f"{number:03}.png"
        path.write_bytes(noisy(number, size))
        os.utime(path, (1_700_000_000, 1_700_000_000))


def names(found: list[Finding]) -> list[str]:
    return [os.path.basename(finding.source.path) for finding in found]


# Stopped


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_reports_are_exact_after_kills_at_random_moments() -> None:
    script = CHECKOUT / "benchmarks" / "kill_scan.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "8", "--files", "300"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_interrupted_command_goes_on_to_the_same_report(
    folder: Path, tmp_path: Path, spawn: Spawn
) -> None:
    fill(folder, 120)
    (folder / "060.png").write_bytes(b"")
    reports = [tmp_path / f"out{suffix}" for suffix in (".csv", ".json", ".jsonl")]
    flags = [word for report in reports for word in ("--report", report)]

    def finish(store: str, stop: signal.Signals | None = None) -> int:
        process = spawn("scan", folder, "--store", tmp_path / store, "--workers", "1", *flags)
        if stop is not None:
            while not (tmp_path / store).exists() and process.poll() is None:
                time.sleep(0.01)
            time.sleep(0.2)
            process.send_signal(stop)
        process.communicate(timeout=60)
        return int(process.returncode)

    assert finish("whole") == 3
    whole = [report.read_bytes() for report in reports]
    for report in reports:
        report.unlink()
    # By the signal itself ends a scan that had just finished, while Python shuts down.
    assert finish("store", signal.SIGINT) in {130, 3, -signal.SIGINT}
    assert finish("store", signal.SIGKILL) in {-signal.SIGKILL, 3}
    assert finish("store") == 3
    assert [report.read_bytes() for report in reports] == whole


def test_a_full_disk_costs_nothing_but_the_run(folder: Path, tmp_path: Path) -> None:
    fill(folder, 60)
    command = [sys.executable, "-m", "fakescan", "scan", str(folder), "--store"]
    report = tmp_path / "out.csv"
    # No file may grow beyond 32 KiB: neither the report nor the store has room.
    limited = (
        "import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (32768, resource.RLIM_INFINITY));"
        " runpy.run_module('fakescan', run_name='__main__')"
    )
    full = [sys.executable, "-c", limited, *command[3:], str(tmp_path / "store")]
    done = subprocess.run([*full, "--report", str(report)], capture_output=True, text=True)
    assert done.returncode in {0, 2}
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or not report.exists()
    again = [*command, str(tmp_path / "store"), "--report", str(report)]
    subprocess.run(again, check=True, capture_output=True)
    after_full_disk = report.read_bytes()
    subprocess.run([*command, str(tmp_path / "new"), "--report", str(report)], check=True)
    assert report.read_bytes() == after_full_disk


def test_a_store_inside_the_folder_is_no_part_of_the_scan(
    folder: Path, fake_backend: FakeBackend
) -> None:
    from conftest import run

    fill(folder, 3)
    first = run("scan", folder, "--store", folder / "store.sqlite3")
    assert first.stderr == run("scan", folder, "--store", folder / "store.sqlite3").stderr
    assert "skipped" not in first.stderr


# Starved


class SmallBackend(FakeBackend):
    """A model on a device with room for `room` crops at once; some crops fit nowhere."""

    room = 3

    def __init__(self, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.error = error

    def logits(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        if len(crops) > self.room or (crops.max(axis=(1, 2, 3)) == 255).any():
            raise self.error()
        return super().logits(crops)


def out_of_device_memory() -> Exception:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def out_of_host_memory() -> Exception:
    return RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


@pytest.mark.parametrize("error", [MemoryError, out_of_device_memory, out_of_host_memory])
def test_a_batch_without_room_is_halved(folder: Path, error: Callable[[], Exception]) -> None:
    fill(folder, 20, (70, 50))
    (folder / "010.png").write_bytes(plain(255))
    backend = SmallBackend(error)
    found = list(scan([folder], ScanOptions(batch_size=16), detectors=[backend]))
    assert max(backend.batches) <= 3
    expected = list(scan([folder], ScanOptions(batch_size=1), detectors=[FakeBackend()]))
    for one, other in zip(found, expected, strict=True):
        if names([one]) == ["010.png"]:
            assert (one.status, one.verdict, one.score) == (Status.OUT_OF_MEMORY, None, None)
            assert one.measurement.sha256 == other.measurement.sha256
        else:
            assert one == other


def test_other_errors_of_a_backend_are_bugs(folder: Path) -> None:
    fill(folder, 1)
    backend = SmallBackend(lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    backend.room = 0
    with pytest.raises(RuntimeError, match="shapes"):
        list(scan([folder], detectors=[backend]))


def test_a_picture_without_room_is_measured_once_there_is_some(
    folder: Path, tmp_path: Path
) -> None:
    fill(folder, 1)
    with Store(tmp_path / "store") as store:
        backend = SmallBackend(MemoryError)
        backend.room = 0
        (found,) = scan([folder], store=store, detectors=[backend])
        assert found.status is Status.OUT_OF_MEMORY
        (found,) = scan([folder], store=store, detectors=[FakeBackend()])
        assert found.status is Status.OK


def test_metadata_without_room_is_a_row(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, 2)

    def read(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(preparation, "read_provenance", read)
    assert [finding.status for finding in scan([folder])] == [Status.OUT_OF_MEMORY] * 2


@pytest.mark.parametrize(
    "words", ["out of memory error when reading image file", "Memory allocation error: memory"]
)
def test_a_decoder_without_room_is_no_damaged_picture(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    fill(folder, 1)

    def open_png(stream: object) -> None:
        raise OSError(words)

    monkeypatch.setitem(images._OPENERS, "image/png", open_png)
    assert [finding.status for finding in scan([folder])] == [Status.OUT_OF_MEMORY]


# Deceived


def test_a_file_that_changes_while_it_is_read_is_one_whole_row(
    folder: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    path = folder / "a.png"
    stop = threading.Event()

    def rewrite() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path.write_bytes(noisy(number, (60, 60))[: 100 * (number % 40)])

    path.write_bytes(noisy())
    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        with Store(tmp_path / "store") as store:
            for _ in range(30):
                assert len(list(scan([folder], store=store))) == 1
    finally:
        stop.set()
        thread.join()
    path.write_bytes(declared_ai())
    with Store(tmp_path / "store") as store:
        (found,) = scan([folder], store=store)
    assert found.reason is Reason.DECLARED_AI


def test_a_file_that_grows_without_end_is_too_large(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_METADATA_ALLOWANCE", 1_000)
    (folder / "a.png").write_bytes(noisy() + bytes(5_000))
    source = images.Source(str(folder / "a.png"), size_bytes=100)
    answer = images.read_bytes(source, max_pixels=100)
    assert isinstance(answer, images.Unreadable)
    assert answer.status is Status.TOO_LARGE


def test_a_folder_that_vanishes_leaves_rows(folder: Path, fake_backend: FakeBackend) -> None:
    for name in ("a", "b", "c"):
        (folder / name).mkdir()
        fill(folder / name, 3)
    found = scan([folder], ScanOptions(workers=1, batch_size=1))
    rows = [next(found)]
    shutil.rmtree(folder / "b")
    shutil.rmtree(folder / "c")
    rows += found
    assert names(rows)[:3] == ["000.png", "001.png", "002.png"]
    gone = [row for row in rows if row.status is Status.NOT_FOUND]
    # Either the folder could no longer be listed, or its files no longer be opened.
    assert {Path(row.source.path).relative_to(folder).parts[0] for row in gone} <= {"b", "c"}
    assert all(row.status in {Status.OK, Status.NOT_FOUND} for row in rows)
    assert {Path(row.source.path).relative_to(folder).parts[0] for row in rows} == {"a", "b", "c"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_files() -> None:
    script = CHECKOUT / "benchmarks" / "memory.py"
    done = subprocess.run(
        [sys.executable, str(script), "--counts", "1000", "10000"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mutated_files_are_survived() -> None:
    script = CHECKOUT / "benchmarks" / "mutate_files.py"
    done = subprocess.run(
        [sys.executable, str(script), "--count", "1000", "--seed", "7"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Side by side


def test_scans_on_threads_share_store_and_model(folder: Path, tmp_path: Path) -> None:
    fill(folder, 30)
    expected = list(scan([folder], detectors=[FakeBackend()]))
    backend = FakeBackend()
    results: list[list[Finding]] = []
    with Store(tmp_path / "store") as store:

        def look() -> None:
            options = ScanOptions(workers=2, batch_size=4)
            results.append(list(scan([folder], options, store=store, detectors=[backend])))

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [expected] * 4


def test_the_library_says_nothing(
    folder: Path, fake_backend: FakeBackend, capfd: pytest.CaptureFixture[Any]
) -> None:
    fill(folder, 2)
    for number, suffix in enumerate((".jpg", ".tiff", ".heic", ".avif", ".webp", ".gif")):
        data = noisy(number, (40, 40), suffix)
        (folder / f"whole{suffix}").write_bytes(data)
        (folder / f"cut{suffix}").write_bytes(data[: len(data) // 2])
        (folder / f"damaged{suffix}").write_bytes(data[:60] + bytes(8) + data[68:])
    (folder / "exif.jpg").write_bytes(
        noisy(1, suffix=".jpg")[:2] + b"\xff\xe1\0\x10Exif\0\0MM\0*junk"
    )
    assert len(list(scan([folder, "gone.png"]))) == 22
    assert capfd.readouterr() == ("", "")
