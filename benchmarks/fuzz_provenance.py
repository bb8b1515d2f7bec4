"""Mutated copies of real files: no crash, no hang, little memory.

FOLDER is searched for images; `--count` mutations are read. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import json
import platform
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from test_provenance_files import mutate

from fakescan.provenance import describe, read_provenance
from fakescan.sources import sniff_media_type


def main(folder: str, count: int, seed: int) -> None:
    chance = random.Random(seed)
    contents = [
        (path.name, data, media_type)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
        and (media_type := sniff_media_type((data := path.read_bytes())[:64])) is not None
    ]
    for _, data, media_type in contents:
        read_provenance(data, media_type)  # loads what is loaded at first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    statuses: collections.Counter[str] = collections.Counter()
    slowest, slowest_name = 0.0, ""
    for _ in range(count):
        name, data, media_type = chance.choice(contents)
        damaged = mutate(data, chance)
        start = time.perf_counter()
        provenance = read_provenance(damaged, media_type)
        describe(provenance)
        elapsed = time.perf_counter() - start
        statuses[provenance.metadata_status] += 1
        if elapsed > slowest:
            slowest, slowest_name = elapsed, name
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "files": len(contents),
        "mutations": count,
        "seed": seed,
        "statuses": dict(statuses),
        "slowest_ms": round(slowest * 1000, 1),
        "slowest_file": slowest_name,
        "peak_mib": round(peak / 1024),
        "grown_mib": round((peak - before) / 1024),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    for key, value in result.items():
        print(f"{key:>13}  {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    main(given.folder, given.count, given.seed)
