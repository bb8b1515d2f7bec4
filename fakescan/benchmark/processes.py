"""Scans in fresh processes: what starting costs, and how much memory a scan takes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

from fakescan.options import ScanOptions
from fakescan.records import ExitCode, FakescanError


def time_scans(
    repeats: int, paths: Sequence[str], options: ScanOptions, *, until_first: bool
) -> float:
    """Median seconds of `repeats` scans, each in a fresh process, or until its first finding."""
    return statistics.median(
        _spawn(paths, options, until_first=until_first) for _ in range(repeats)
    )


def _spawn(paths: Sequence[str], options: ScanOptions, *, until_first: bool) -> float:
    """Seconds that `fakescan scan` takes in a fresh process, or until its first finding."""
    with _given(paths) as given, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            _command(options), stdin=given, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        with process.stdout as output:
            output.readline()
            first = time.perf_counter() - start
            output.read()
        code = process.wait()
        seconds = time.perf_counter() - start
        errors.seek(0)
        _check_exit(code, errors.read())
    return first if until_first else seconds


# Linux counts a process's memory from before its program began: measured from here it would be
# at least our own. So a small process starts it.
_MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measure_peak_memory(paths: Sequence[str], options: ScanOptions) -> float | None:
    """The most memory in MB that a scan holds; None where the system doesn't tell."""
    if not hasattr(os, "wait4"):
        return None
    with _given(paths) as given:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, *_command(options)],
            stdin=given,
            capture_output=True,
            check=False,
        )
    _check_exit(done.returncode, done.stderr)
    # Linux counts in KiB, macOS in bytes.
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024) / 1e6


def _given(paths: Sequence[str]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(b"\0".join(os.fsencode(path) for path in paths))
    file.seek(0)
    return file


def _check_exit(code: int, errors: bytes) -> None:
    if code not in {ExitCode.DONE, ExitCode.SOME_UNREADABLE}:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise FakescanError(f"a scan for the bench failed: {lines[-1] if lines else 'killed'}")


def _command(options: ScanOptions) -> list[str]:
    return [sys.executable, "-m", "fakescan", "scan", "-", "-0", *_arguments(options)]


def _arguments(options: ScanOptions) -> Iterator[str]:
    yield from ("--json", "--no-store", "--crops", str(options.crops))
    yield from ("--backend", options.backend.value, "--device", options.device)
    yield from ("--decode", options.decode.value)
    if options.precision is not None:
        yield from ("--precision", options.precision.value)
    for model in options.models:
        yield from ("--model", model)
    for file in options.weights:
        yield from ("--weights", file)
    for label in options.ai_labels:
        yield from ("--ai-label", label)
