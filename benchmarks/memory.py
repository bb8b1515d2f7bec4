"""Peak memory of a scan, by how many files it scans: one folder, reports and store included.

Usage: python benchmarks/memory.py [--counts 1000 100000] [--result FILE]

No model: what is weighed is what grows with the number of files, not a network. The mark is that a
scan of 100,000 files takes at most 1.2 times what one of 1,000 takes.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from machine import describe_machine


def write_pictures(folder: Path, count: int) -> None:
    """PNGs of one pixel, each of other bytes: a text chunk tells its number."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body)
        return struct.pack("!I", len(body)) + name + body + struct.pack("!I", checksum)

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack("!IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    folder.mkdir()
    for number in range(count):
        path = folder / f"IMG_{number:07}.png"
        path.write_bytes(head + chunk(b"tEXt", b"number\0%d" % number) + tail)
        os.utime(path, (1_700_000_000, 1_700_000_000))  # as if not written just now


def measure(count: int) -> dict[str, object]:
    """Scan `count` files twice, the second time from the store: rows, seconds, peak MiB."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        write_pictures(top / "photos", count)
        command = [sys.executable, "-m", "fakescan", "scan", str(top / "photos")]
        command += ["--store", str(top / "store.sqlite3"), "--report", str(top / "out.csv")]
        command += ["--report", str(top / "out.json"), "--workers", "2"]
        result: dict[str, object] = {"files": count}
        for run in ("first", "again"):
            start = time.perf_counter()
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            with (top / "out.csv").open(encoding="utf-8") as report:
                rows = sum(1 for _ in report) - 1
            if process.returncode != 0 or rows != count:
                raise SystemExit(f"exit code {process.returncode}, {rows} rows of {count}")
            result[run] = {
                "seconds": round(time.perf_counter() - start, 1),
                "peak_mib": round(usage.ru_maxrss / 1024, 1),
            }
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs=2, default=(1_000, 100_000))
    parser.add_argument("--result", type=Path)
    arguments = parser.parse_args()
    few, many = (measure(count) for count in arguments.counts)
    ratios = {
        run: round(many[run]["peak_mib"] / few[run]["peak_mib"], 3) for run in ("first", "again")
    }  # type: ignore[index]
    result = {"scans": [few, many], "ratios": ratios, **describe_machine()}
    print(json.dumps(result, indent=1))
    if arguments.result:
        arguments.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if max(ratios.values()) > 1.2:
        raise SystemExit("more than 1.2 times as much")


if __name__ == "__main__":
    main()
