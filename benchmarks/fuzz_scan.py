"""Coverage-guided fuzzing of all that a scan does with a file's bytes, with Atheris.

Usage: python benchmarks/fuzz_scan.py [CORPUS_FOLDER] [-max_total_time=600] [any libFuzzer option]

The first byte chooses the name's suffix, the rest is the file: decoded, its metadata read, its
crops judged by the tests' fake model, and the record written. Whatever is raised is a bug.
Needs `pip install atheris`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["fakescan", "exifread", "PIL"]):
    from fakescan.images import decode_image
    from fakescan.pipeline import ScanOptions, scan_batch
    from fakescan.records import Source
    from fakescan.reports import to_record
    from fakescan.verdict import Policy

import conftest

SUFFIXES = (*conftest.SUFFIXES, ".dng", ".bin")
DETECTORS = (conftest.FakeBackend(),)
OPTIONS = ScanOptions(max_pixels=1_000_000)
POLICY = Policy((conftest.CARD,), OPTIONS.max_false_positive_rate)


def scan_bytes(data: bytes) -> None:
    """One file through everything but the disk."""
    if not data:
        return
    source = Source(f"fuzz{SUFFIXES[data[0] % len(SUFFIXES)]}")
    image = decode_image(source, data[1:], max_pixels=OPTIONS.max_pixels)
    (measurement,) = scan_batch([image], DETECTORS, OPTIONS)
    to_record(POLICY.judge(source, measurement))


def write_corpus(folder: Path) -> None:
    """A picture of each format to begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, suffix in enumerate(conftest.SUFFIXES):
        (folder / f"seed{suffix}").write_bytes(
            bytes([number]) + conftest.noisy(number, suffix=suffix)
        )
    (folder / "seed-declared").write_bytes(bytes([1]) + conftest.declared_ai())


def main() -> None:
    for argument in sys.argv[1:]:
        if not argument.startswith("-"):
            write_corpus(Path(argument))
    atheris.Setup(sys.argv, scan_bytes)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
