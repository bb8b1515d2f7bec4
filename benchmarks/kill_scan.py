"""Kill a scan at random moments, run the same command again, and compare its reports.

Usage: python benchmarks/kill_scan.py [--kills 100] [--files 2000] [--seed 1] [--result FILE]

Each time anew: a scan with an empty store is killed (SIGKILL) at a moment drawn evenly from an
uninterrupted scan's duration, and the same command is run to its end. Its CSV, JSON and JSON Lines
must equal the uninterrupted scan's to the byte. Which pictures the model saw in both runs is
counted, and how long before the kill it had seen them first. The model is the tests' fake.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from conftest import FakeBackend, declared_ai, noisy
from machine import describe_machine

from fakescan import cli, pipeline

REPORTS = ("out.csv", "out.json", "out.jsonl")


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the command left."""

    code: int
    seconds: float
    reports: tuple[bytes, ...]
    measured: dict[str, float]
    """When the model saw which picture, by the clock."""


def write_pictures(folder: Path, count: int) -> None:
    """Pictures in nested folders, one in twenty broken or of no model's size."""
    for number in range(count):
        path = folder / f"{number % 7}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        odd = number % 40
        data = noisy(number, (16, 16) if odd == 7 else (32, 32))
        path.write_bytes(
            data[:90] if odd == 13 else declared_ai(number % 256) if odd == 3 else data
        )
        os.utime(path, (1_700_000_000, 1_700_000_000))  # as if not written just now


def run_scan(
    top: Path, *, after: float | None = None, kill: signal.Signals = signal.SIGKILL
) -> Run:
    """Scan `top`/photos in a process of its own, sent `kill` after so many seconds."""
    log = top / "measured"
    log.write_bytes(b"")
    start = time.time()
    process = os.fork()
    if process == 0:
        _become_scan(top, log)
    if after is not None:
        time.sleep(after)
        os.kill(process, kill)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    seconds = time.time() - start
    measured = {}
    for line in log.read_text().splitlines():
        moment, path = line.split(" ", 1)
        measured[path] = float(moment)
    reports = tuple((top / name).read_bytes() if (top / name).exists() else b"" for name in REPORTS)
    return Run(code, seconds, reports, measured)


def _become_scan(top: Path, log: Path) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    measure_batch = pipeline.measure_batch

    def measure_and_tell(prepared, detectors, batch_size):  # type: ignore[no-untyped-def]
        measurements = measure_batch(prepared, detectors, batch_size)
        for item in prepared:
            if item.views:
                os.write(descriptor, f"{time.time()} {item.source.path}\n".encode())
        return measurements

    pipeline.measure_batch = measure_and_tell
    pipeline.load_detectors = lambda options: (FakeBackend(),)
    reports = [word for name in REPORTS for word in ("--report", str(top / name))]
    store = ["--store", str(top / "store" / "store.sqlite3"), "--workers", "2"]
    sys.argv = ["fakescan", "scan", str(top / "photos"), *store, *reports]
    code: object = 70
    try:
        cli.main()
    except SystemExit as ending:
        code = ending.code
    finally:
        os._exit(code if isinstance(code, int) else 70)


def forget(top: Path) -> None:
    """Remove what the last runs left."""
    shutil.rmtree(top / "store", ignore_errors=True)
    for path in top.glob("*out.*"):
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", type=Path)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    exact = begun = finished = most_twice = 0
    longest_ago = 0.0
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        write_pictures(top / "photos", arguments.files)
        whole = run_scan(top)
        assert all(whole.reports), whole.code
        for kills in range(1, arguments.kills + 1):
            forget(top)
            killed = run_scan(top, after=chance.uniform(0, whole.seconds))
            ended = time.time()
            begun += bool(killed.measured)
            finished += killed.code != -signal.SIGKILL
            again = run_scan(top)
            exact += again.reports == whole.reports and again.code == whole.code
            twice = killed.measured.keys() & again.measured.keys()
            most_twice = max(most_twice, len(twice))
            first = min((killed.measured[path] for path in twice), default=ended)
            longest_ago = max(longest_ago, ended - first)
            result = {
                "kills": kills,
                "files": arguments.files,
                "seed": arguments.seed,
                "exact": exact,
                "killed_after_the_first_measurement": begun,
                "over_before_the_kill": finished,
                "most_measured_twice": most_twice,
                "longest_measured_before_the_kill_and_lost_s": round(longest_ago, 2),
                "uninterrupted_s": round(whole.seconds, 2),
                **describe_machine(),
            }
            if arguments.result:
                arguments.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    if exact != arguments.kills:
        raise SystemExit("not every report was exact")


if __name__ == "__main__":
    main()
