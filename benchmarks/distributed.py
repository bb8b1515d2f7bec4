"""What `--engine ray` costs beside the plain scan, once both have started.

Usage: python benchmarks/distributed.py [--pictures 20000] [--few 2000] [--manifest-size 2000]
       [--same-findings] [--result FILE]

Both scan the same small JPEGs, `--few` of them and then all, each time in a fresh process that
remembers nothing, with the `photo` model. What the further pictures take is free of every start-up:
finding, handing out, writing parts and merging are in it. The mark is at most 15 % more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from machine import describe_machine
from PIL import Image

SIDE = 256
MARK = 0.15


def write_pictures(folder: Path, count: int) -> None:
    """JPEGs with structure at several scales, so that the photo model judges them."""
    folder.mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        pixels = np.zeros((SIDE, SIDE, 3))
        for side in (4, 16, 64, 256):
            noise = random.uniform(-40, 40, (side, side, 3))
            pixels += noise.repeat(SIDE // side, 0).repeat(SIDE // side, 1)
        image = Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))
        image.save(folder / f"{number:07}.jpg", quality=90)


def time_scan(paths: Path, *flags: str) -> tuple[float, bytes]:
    """Seconds of a scan of the paths in a list, and its JSON Lines."""
    command = [sys.executable, "-m", "fakescan", "scan", "--list", str(paths), "--model", "photo"]
    start = time.perf_counter()
    done = subprocess.run([*command, "--json", "--no-store", *flags], capture_output=True)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"exit code {done.returncode}: {done.stderr.decode()}")
    return seconds, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--manifest-size", type=int, default=2_000)
    parser.add_argument("--same-findings", action="store_true")
    default = Path(__file__).parent / "results" / "distributed.json"
    parser.add_argument("--result", type=Path, default=default)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {"plain": [], "ray": []}
    findings: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        write_pictures(top / "photos", arguments.pictures)
        names = sorted(str(path) for path in (top / "photos").iterdir())
        for count in (arguments.few, arguments.pictures):
            (top / "list").write_text("\n".join(names[:count]))
            by_ray = ("--engine", "ray", "--parts", str(top / "parts"))
            by_ray += ("--manifest-size", str(arguments.manifest_size))
            for engine, flags in {"plain": (), "ray": by_ray}.items():
                taken, findings[engine] = time_scan(top / "list", *flags)
                seconds[engine].append(taken)
    further = arguments.pictures - arguments.few
    rates = {engine: further / (whole - few) for engine, (few, whole) in seconds.items()}
    judged = sum(b'"model":{' in line for line in findings["plain"].splitlines())
    result = {
        "pictures": arguments.pictures,
        "few": arguments.few,
        "manifest_size": arguments.manifest_size,
        "judged_by_the_model": judged,
        "seconds": {engine: [round(one, 1) for one in both] for engine, both in seconds.items()},
        "pictures_a_second_after_start": {name: round(rate, 2) for name, rate in rates.items()},
        "start_up_s": {
            engine: round(few - arguments.few / rates[engine], 1)
            for engine, (few, _) in seconds.items()
        },
        "overhead": round(rates["plain"] / rates["ray"] - 1, 3),
        "same_findings": findings["plain"] == findings["ray"],
        **describe_machine(),
    }
    result["versions"] |= {name: version(name) for name in ("ray", "torch")}
    print(json.dumps(result))
    arguments.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.same_findings and not result["same_findings"]:
        raise SystemExit("not the same findings")
    if result["overhead"] > MARK:
        raise SystemExit(f"more than {MARK:.0%} over the plain scan")


if __name__ == "__main__":
    main()
