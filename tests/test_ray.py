"""The same on a real Ray: equal reports, and nothing lost or repeated when processes are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, FakeBackend, declared_ai, noisy, run

from fakescan.backends import Backend
from fakescan.distributed import DistributedScan, Worker
from fakescan.distributed.parts import TRIES
from fakescan.distributed.ray import ENVIRONMENT, RayEngine
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import FakescanError, Measurement, Source

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TESTS = Path(__file__).parent


class FakeWorker(Worker):
    """A worker with the tests' model, that logs what it measures and ends where it is told.

    Beside the parts, `measured` gets a line for each source that was looked at; where `end-NAME`
    lies, the process ends at the source NAME, and unless `end-always` lies there, only once.
    """

    @cached_property
    def _detectors(self) -> Sequence[Backend]:
        # Not by what loads them: Ray gives its processes to the next test as they are.
        return (FakeBackend(),)

    def measurements(self, sources: Sequence[Source]) -> Iterator[Measurement]:
        beside = self.job.parts.parent
        log = os.open(beside / "measured", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for source, measurement in zip(sources, super().measurements(sources), strict=True):
            name = os.path.basename(source.path)
            if (beside / f"end-{name}").exists():
                if not (beside / "end-always").exists():
                    (beside / f"end-{name}").unlink()
                os._exit(9)
            os.write(log, f"{name}\n".encode())
            time.sleep(float(os.environ.get("FAKESCAN_TEST_PAUSE", "0")))
            yield measurement
        os.close(log)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    top.mkdir()
    for number in range(40):
        path = top / f"{number:02}.png"
        path.write_bytes(noisy(number) if number % 5 else declared_ai(number))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (top / "21.png").write_bytes(b"")
    return top


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray on two CPUs, that speaks to nothing beyond this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{CHECKOUT}{os.pathsep}{TESTS}")
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=2,
            object_store_memory=200 << 20,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
        yield ray
        ray.shutdown()


def measured(tmp_path: Path) -> list[str]:
    return sorted((tmp_path / "measured").read_text().split())


def start(folder: Path) -> DistributedScan:
    engine = RayEngine(make_worker=FakeWorker)
    parts = folder.parent / "parts"
    running = DistributedScan([folder], ScanOptions(), engine, parts, manifest_size=8)
    running.find()
    return running


def test_reports_are_those_of_the_plain_scan(
    ray: Any,
    folder: Path,
    tmp_path: Path,
    fake_backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = partial(RayEngine, make_worker=FakeWorker)
    monkeypatch.setattr("fakescan.distributed.ray.RayEngine", engine)
    whole = []
    for name, flags in {
        "plain": ("--no-store",),
        "ray": ("--engine", "ray", "--manifest-size", "8", "--parts", tmp_path / "parts"),
    }.items():
        (tmp_path / name).mkdir()
        reports = [tmp_path / name / f"out{suffix}" for suffix in (".csv", ".json")]
        words = [word for report in reports for word in ("--report", report)]
        whole.append((run("scan", folder, *words, *flags), [one.read_bytes() for one in reports]))
    assert whole[0] == whole[1]
    assert whole[1][0].code == 3
    assert measured(tmp_path) == sorted(os.listdir(folder))


def test_an_actor_that_ends_loses_nothing(
    ray: Any, folder: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    (tmp_path / "end-19.png").touch()
    running = start(folder)
    assert list(running.measure())[-1] == 5
    assert list(running) == list(scan([folder]))
    # Its own manifest was begun again, and no other.
    again = [f"{number}.png" for number in (16, 17, 18)]
    assert measured(tmp_path) == sorted([*os.listdir(folder), *again])


def test_a_file_that_ends_every_actor_costs_its_own_part_alone(
    ray: Any, folder: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    (tmp_path / "end-19.png").touch()
    (tmp_path / "end-always").touch()
    with pytest.raises(FakescanError, match=r"^1 of 5 parts .*16\.png to .*23\.png"):
        list(start(folder).measure())
    assert len(list((tmp_path / "parts").glob("*.part.jsonl"))) == 4
    assert measured(tmp_path).count("18.png") == TRIES
    assert measured(tmp_path).count("24.png") == 1
    (tmp_path / "end-19.png").unlink()
    mended = start(folder)
    assert mended.parts_done == 4
    assert list(mended.measure()) == [5]
    assert list(mended) == list(scan([folder]))


def test_mistakes_of_workers_are_one_line(ray: Any, folder: Path, tmp_path: Path) -> None:
    options = ScanOptions(models=(str(tmp_path / "gone.safetensors"),))
    with pytest.raises(FakescanError, match=r"^[^\n]*gone\.safetensors: there is no such[^\n]*$"):
        DistributedScan([folder], options, RayEngine(), tmp_path / "parts")


DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from functools import partial
from fakescan import cli
from fakescan.distributed import ray
from test_ray import FakeWorker
ray.RayEngine = partial(ray.RayEngine, make_worker=FakeWorker)
cli.main()
"""


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def fail(**options: object) -> None:
        raise Exception("The node timed out.\nIts logs are long.")  # as Ray raises it

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(FakescanError, match=r"^Ray doesn't start here \(The node timed out\.\)"):
        RayEngine()._connect()
    with pytest.raises(Exception, match="logs are long"):
        RayEngine("127.0.0.1:1")._connect()


def test_a_driver_killed_and_started_again_repeats_nothing_that_was_done(
    folder: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    pytest.importorskip("ray")
    flags = ("--engine", "ray", "--manifest-size", "4", "--parts", str(tmp_path / "parts"))
    script = ("-c", DRIVER.format(tests=str(TESTS)))
    command = [sys.executable, *script, "scan", str(folder), "--json", *flags]
    path = {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{TESTS}"}
    killed = subprocess.Popen(
        command,
        env={**os.environ, **path, "FAKESCAN_TEST_PAUSE": "0.3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (done := list((tmp_path / "parts").glob("*.part.jsonl"))) and killed.poll() is None:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert done, "it ended before it was killed"
    log: list[str] = []
    while log != (log := (tmp_path / "measured").read_text().split()):
        time.sleep(3)  # its workers learn of it, and end
    kept = list((tmp_path / "parts").glob("*.part.jsonl"))
    assert len(kept) < 10
    again = subprocess.run(command, env={**os.environ, **path}, capture_output=True, text=True)
    plain = run("scan", folder, "--json", "--no-store")
    assert (again.returncode, again.stdout, again.stderr) == (3, plain.stdout, plain.stderr)
    later = (tmp_path / "measured").read_text().split()[len(log) :]
    assert len(later) == 40 - 4 * len(kept)
    assert len(set(later)) == len(later)
