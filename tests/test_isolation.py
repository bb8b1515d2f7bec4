from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import SUFFIXES, FakeBackend, declared_ai, noisy, run

from fakescan import preparation
from fakescan.isolation import IsolatedFunction
from fakescan.pipeline import ScanOptions, scan
from fakescan.preparation import _prepare_bytes
from fakescan.records import FakescanError, Finding, Says, Status

# What runs in workers; they import this module


def load() -> None:
    pass


def load_in_vain() -> None:
    raise ImportError


def act(data: bytes, what: str, *, reserve: Callable[[int], None]) -> bytes:
    """Do `what`, and answer with the data."""
    match what:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            with_no_end()
        case "greed":
            bytearray(1 << 30)
        case "raise":
            raise RuntimeError
        case "killed by the kernel":
            os.kill(os.getpid(), signal.SIGKILL)
        case "nonsense" | "an absurd length":
            for descriptor in range(3, 8):
                word = b"?" * 99 if what == "nonsense" else b"A" + b"\xff" * 8
                write(descriptor, word)
            with_no_end()
        case "print":
            print("not an answer", flush=True)
            os.write(1, b"not an answer")
        case "reserve":
            reserve(12_345)
            time.sleep(0.1)
    return data


def with_no_end() -> None:
    while True:
        pass


def write(descriptor: int, word: bytes) -> None:
    try:
        os.write(descriptor, word)
    except OSError:
        return


def prepare_by_name(
    data: bytes,
    source: Any,
    sha256: str,
    status: Status | None,
    *rest: Any,
    reserve: Callable[[int], None],
) -> bytes:
    """As the scan does, but files named after a mischief do it when they are decoded."""
    what = os.path.basename(source.path).split(".")[0]
    if status is None or what.endswith("always"):
        act(data, what.removesuffix("-always"), reserve=reserve)
    return _prepare_bytes(data, source, sha256, status, *rest, reserve=reserve)


# The function


@pytest.fixture(scope="module")
def isolated() -> Iterator[IsolatedFunction]:
    function = IsolatedFunction(act, seconds=1.0, memory=256 << 20, load=load)
    yield function
    function.close()


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("crash", Status.DECODER_CRASHED),
        ("raise", Status.DECODER_CRASHED),
        ("nonsense", Status.DECODER_CRASHED),
        ("an absurd length", Status.DECODER_CRASHED),
        ("hang", Status.TIMED_OUT),
        ("greed", Status.OUT_OF_MEMORY),
        ("killed by the kernel", Status.OUT_OF_MEMORY),
    ],
)
def test_what_ends_a_worker_is_a_status(
    isolated: IsolatedFunction, what: str, status: Status
) -> None:
    assert isolated(b"data", what, reserve=pytest.fail) == status
    assert isolated(b"data", "nothing", reserve=pytest.fail) == b"data"


def test_what_is_printed_is_no_answer(isolated: IsolatedFunction) -> None:
    assert isolated(b"data", "print", reserve=pytest.fail) == b"data"


def test_waiting_for_memory_takes_none_of_the_time(isolated: IsolatedFunction) -> None:
    asked: list[int] = []

    def reserve(amount: int) -> None:
        asked.append(amount)
        time.sleep(1.2)

    assert isolated(b"data", "reserve", reserve=reserve) == b"data"
    assert asked == [12_345]


def test_closing_ends_calls_under_way() -> None:
    function = IsolatedFunction(act, seconds=60, memory=256 << 20, load=load)
    answers: list[object] = []
    thread = threading.Thread(
        target=lambda: answers.append(function(b"", "hang", reserve=pytest.fail))
    )
    thread.start()
    time.sleep(0.2)
    function.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(answers[0], Status)
    assert isinstance(function(b"", "nothing", reserve=pytest.fail), Status)


def test_a_worker_that_cannot_start_is_one_line() -> None:
    with pytest.raises(FakescanError, match="doesn't start"):
        IsolatedFunction(act, seconds=1, memory=1 << 30, load=load_in_vain)


def test_the_current_folder_holds_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    IsolatedFunction(act, seconds=1, memory=256 << 20, load=load).close()


def test_workers_end_with_a_killed_scan() -> None:
    script = (
        "import test_isolation as t; from fakescan.isolation import IsolatedFunction as F\n"
        "f = F(t.act, seconds=1, memory=1 << 30, load=t.load)\n"
        "print(f._idle[0]._process.pid, flush=True); f(b'', 'hang', reserve=print)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    scan = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert scan.stdout is not None
    worker = int(scan.stdout.readline())
    scan.kill()
    scan.communicate()
    deadline = time.monotonic() + 20
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended, but nobody has asked how


# The scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    top.mkdir()
    return top


def findings(folder: Path, **options: Any) -> list[Finding]:
    return list(scan([folder], ScanOptions(workers=2, **options)))


def test_isolation_changes_no_finding(folder: Path, fake_backend: FakeBackend) -> None:
    for number, suffix in enumerate(SUFFIXES):
        (folder / f"small{suffix}").write_bytes(noisy(number, suffix=suffix))
        (folder / f"large{suffix}").write_bytes(noisy(number, (90, 70), suffix))
        (folder / f"cut{suffix}").write_bytes(noisy(number, suffix=suffix)[:200])
    (folder / "empty.png").write_bytes(b"")
    (folder / "declared.png").write_bytes(declared_ai())
    (folder / "of-no-model.png").write_bytes(noisy(size=(9, 9)))
    (folder / "raw.dng").write_bytes(noisy(suffix=".tiff"))
    plain = findings(folder)
    assert findings(folder, isolate=True) == plain
    assert len({finding.status for finding in plain}) >= 4


def test_files_that_end_their_worker_are_rows(
    folder: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "_prepare_bytes", prepare_by_name)
    names = ["a", "crash-always", "crash", "greed", "hang", "z"]
    for number, name in enumerate(names):
        (folder / f"{name}.png").write_bytes(declared_ai(number))
    found = findings(folder, isolate=True, decode_seconds=2.0, decode_memory=256)
    assert [os.path.basename(finding.source.path)[:-4] for finding in found] == names
    assert [finding.status for finding in found] == [
        *(Status.OK, Status.DECODER_CRASHED, Status.DECODER_CRASHED),
        *(Status.OUT_OF_MEMORY, Status.TIMED_OUT, Status.OK),
    ]
    # What the file says of itself is still read, unless that is what ends the worker.
    spoken = [
        any(one.says is Says.AI for one in finding.measurement.provenance.evidence)
        for finding in found
    ]
    assert spoken == [True, False, True, True, True, True]
    assert all(finding.measurement.sha256 and finding.measurement.media_type for finding in found)


def test_stopping_early_leaves_no_worker(folder: Path, fake_backend: FakeBackend) -> None:
    (folder / "a.png").write_bytes(noisy())
    isolated = scan([folder], ScanOptions(isolate=True))
    assert isolated._measuring._isolated is not None
    (worker,) = isolated._measuring._isolated._workers._idle
    isolated.close()
    assert worker._process.poll() is not None


def test_limits_beyond_all_numbers_are_none() -> None:
    function = IsolatedFunction(act, seconds=math.inf, memory=10**20, load=load)
    assert function(b"data", "nothing", reserve=pytest.fail) == b"data"
    function.close()


def test_limits_beyond_all_numbers_on_the_command_line(
    folder: Path, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    (folder / "a.png").write_bytes(noisy())
    report = tmp_path / "out.json"
    flags = ("--isolate", "--decode-seconds", "inf", "--decode-memory", "99999999999999")
    assert run("scan", folder, "--report", report, *flags).code == 0
    assert json.loads(report.read_text())["settings"]["decode_memory"] == 99999999999999


def test_the_command_line_isolates(folder: Path, fake_backend: FakeBackend) -> None:
    (folder / "a.png").write_bytes(noisy())
    flags = ("--isolate", "--decode-seconds", "20", "--decode-memory", "2048")
    outcome = run("scan", folder, "--json", *flags)
    assert outcome.code == 0
    assert outcome.stdout == run("scan", folder, "--json", "--no-store").stdout
