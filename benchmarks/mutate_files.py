"""Mutated pictures of every format through `scan`: crashes, hangs and lost rows.

Usage: python benchmarks/mutate_files.py [--count 20000] [--seed 1] [--folder DIR] [--result FILE]

Seeds are pictures of every format, plain, noisy and with metadata, and those under --folder. Each
batch is scanned in a process of its own, so that a crash is counted and does not end the count.
The model is the tests' fake; a hang is a file that takes more than 5 s of its thread's time.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import conftest
from machine import describe_machine
from test_provenance_files import mutate

from fakescan.pipeline import Measuring, ScanOptions, scan
from fakescan.sources import IMAGE_SUFFIXES, sniff_media_type

BATCH = 1_000
HANG_SECONDS = 5.0
PICTURES = Path(__file__).parent.parent / "tests" / "pictures"


def read_seeds(folder: Path | None) -> list[tuple[str, bytes]]:
    """Suffix and bytes of whole pictures; some by a name of another format, or of RAW."""
    seeds = [
        (suffix, conftest.noisy(number, size, suffix))
        for suffix in conftest.SUFFIXES
        for number, size in enumerate(((32, 32), (48, 40), (16, 16)))
    ]
    seeds += [(suffix, conftest.plain(suffix=suffix)) for suffix in conftest.SUFFIXES]
    seeds += [(".png", conftest.declared_ai()), (".dng", conftest.noisy(9, suffix=".tiff"))]
    seeds += [(".jpg", conftest.noisy(10, suffix=".webp")), (".bin", conftest.noisy(11))]
    for top in (PICTURES, folder):
        for path in sorted(top.rglob("*")) if top else ():
            if path.is_file() and sniff_media_type((data := path.read_bytes())[:64]):
                seeds.append((path.suffix.lower(), data))
    return seeds


def scan_batch(seeds: list[tuple[str, bytes]], first: int, count: int, seed: int) -> None:
    """Scan files `first` to `first + count`; the last line of output is the tally."""
    seconds: dict[str, float] = {}
    prepare = Measuring._prepare

    def prepare_and_time(self, source, reserve):  # type: ignore[no-untyped-def]
        start = time.thread_time()
        try:
            return prepare(self, source, reserve)
        finally:
            seconds[source.path] = time.thread_time() - start

    Measuring._prepare = prepare_and_time  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        expected = []
        for number in range(first, first + count):
            chance = random.Random(f"{seed}-{number}")
            suffix, data = chance.choice(seeds)
            path = os.path.join(name, f"{number:07}{suffix}")
            damaged = mutate(data, chance)
            Path(path).write_bytes(damaged)
            # By its name or by its first bytes: then it must have a row.
            if suffix in IMAGE_SUFFIXES or sniff_media_type(damaged[:32]):
                expected.append(path)
        options = ScanOptions(workers=2)
        findings = list(scan([name], options, detectors=[conftest.FakeBackend()]))
        paths = [finding.source.path for finding in findings]
        slowest = max(seconds, key=lambda path: seconds[path])
        tally = {
            "rows": len(paths),
            "lost": len(set(expected) - set(paths)) + (paths != sorted(paths)),
            "hangs": sum(value > HANG_SECONDS for value in seconds.values()),
            "slowest_s": round(seconds[slowest], 3),
            "slowest": os.path.basename(slowest),
            "statuses": collections.Counter(finding.status.value for finding in findings),
        }
    print(json.dumps(tally))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--result", type=Path)
    parser.add_argument("--first", type=int, help="scan one batch, from this number on")
    arguments = parser.parse_args()
    if arguments.first is not None:
        seeds = read_seeds(arguments.folder)
        scan_batch(seeds, arguments.first, arguments.count, arguments.seed)
        return
    crashes: list[dict[str, object]] = []
    tallies: list[dict[str, Any]] = []
    for first in range(0, arguments.count, BATCH):
        count = min(BATCH, arguments.count - first)
        command = [sys.executable, __file__, "--first", str(first), "--count", str(count)]
        command += ["--seed", str(arguments.seed)]
        command += ["--folder", str(arguments.folder)] if arguments.folder else []
        # Ten times what a batch takes where nothing hangs; a hang in native code never returns.
        done = subprocess.run(command, capture_output=True, text=True, timeout=1_800)
        if done.returncode:
            crashes.append({"first": first, "code": done.returncode, "error": done.stderr[-500:]})
        else:
            tallies.append(json.loads(done.stdout.splitlines()[-1]))
        result = _sum_up(first + count, arguments.seed, tallies, crashes)
        if arguments.result:
            text = json.dumps(result, indent=1) + "\n"
            arguments.result.write_text(text, encoding="utf-8")
    print(json.dumps(result, indent=1))
    if crashes or result["hangs"] or result["lost_rows"]:
        raise SystemExit("not every file was survived")


def _sum_up(
    files: int, seed: int, tallies: list[dict[str, Any]], crashes: list[dict[str, object]]
) -> dict[str, object]:
    slowest = max(tallies, key=lambda tally: float(tally["slowest_s"]))
    statuses: collections.Counter[str] = collections.Counter()
    for tally in tallies:
        statuses.update(tally["statuses"])
    return {
        "files": files,
        "seed": seed,
        "rows": sum(tally["rows"] for tally in tallies),
        "crashes": crashes,
        "hangs": sum(tally["hangs"] for tally in tallies),
        "lost_rows": sum(tally["lost"] for tally in tallies),
        "slowest_s": slowest["slowest_s"],
        "slowest": slowest["slowest"],
        "statuses": dict(statuses.most_common()),
        **describe_machine(),
    }


if __name__ == "__main__":
    main()
