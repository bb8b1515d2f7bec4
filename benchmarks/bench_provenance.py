"""How long reading a file's metadata takes, with and without content credentials.

FOLDER is searched for images. Each file counts with the median of `--repeats` readings,
after one that warms up. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

from fakescan.provenance import read_provenance
from fakescan.provenance.container import read_metadata
from fakescan.sources import sniff_media_type


def measure(data: bytes, media_type: str, repeats: int) -> float:
    """Median seconds of one reading."""
    read_provenance(data, media_type)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        read_provenance(data, media_type)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def summarize(times: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * one for one in times)
    return {
        "n": len(ordered),
        "median_ms": round(statistics.median(ordered), 3),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "max_ms": round(ordered[-1], 3),
    }


def main(folder: str, repeats: int) -> None:
    times: dict[str, list[float]] = {"without": [], "with": []}
    for path in sorted(Path(folder).rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        media_type = sniff_media_type(data[:64])
        if media_type is None:
            continue
        has_manifest = read_metadata(data, media_type).manifest_offset is not None
        elapsed = measure(data, media_type, repeats)
        times["with" if has_manifest else "without"].append(elapsed)
    result: dict[str, object] = {kind: summarize(found) for kind, found in times.items() if found}
    for kind, summary in result.items():
        print(f"{kind:>8} credentials  {summary}")
    result |= {"machine": platform.machine(), "python": platform.python_version()}
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    main(given.folder, given.repeats)
