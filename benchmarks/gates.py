"""What the gates refuse, of labelled crops: `gates.py FOLDER`.

FOLDER holds index.csv with the columns `path` and `label`. Of every picture, clean and degraded by
real codecs, the reason for which the photo gates refuse it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
from machine import describe_machine
from PIL import Image, ImageFilter

from fakescan.gates import PHOTO_GATES, check_gates
from fakescan.images import crop_positions

TIMED_SIZES = {"2 MP": (1200, 1600), "12 MP": (3000, 4000), "256 MP": (16000, 16000)}
TIMED_REPEATS = 15


def compress(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def halve(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def enlarge(image: Image.Image, times: int) -> Image.Image:
    part = image.crop((0, 0, image.width // times, image.height // times))
    return part.resize(image.size, Image.Resampling.BICUBIC)


DEGRADATIONS = {
    "clean": lambda image: image,
    "jpeg 70": lambda image: compress(image, 70),
    "jpeg 40": lambda image: compress(image, 40),
    "halved, jpeg 75": lambda image: compress(halve(image), 75),
    # What ought to be refused.
    "jpeg 10": lambda image: compress(image, 10),
    "jpeg 5": lambda image: compress(image, 5),
    "enlarged 4 times, jpeg 85": lambda image: compress(enlarge(image, 4), 85),
    "blurred by 2 px, jpeg 90": lambda image: compress(
        image.filter(ImageFilter.GaussianBlur(2)), 90
    ),
}


def main(folder: str) -> None:
    with Path(folder, "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    refused = {name: Counter[tuple[str, str]]() for name in DEGRADATIONS}
    counts = Counter(row["label"] for row in rows)
    for row in rows:
        with Image.open(Path(folder, row["path"])) as opened:
            image = opened.convert("RGB")
        for name, degrade in DEGRADATIONS.items():
            reason = check_gates(np.asarray(degrade(image)), PHOTO_GATES)
            if reason is not None:
                refused[name][row["label"], reason.value] += 1
    reasons = sorted({reason for found in refused.values() for _, reason in found})
    result = {
        "gates": asdict(PHOTO_GATES),
        "pictures": dict(sorted(counts.items())),
        "refused_percent": {
            name: {
                label: {
                    reason: round(100 * found[label, reason] / counts[label], 1)
                    for reason in reasons
                }
                for label in sorted(counts)
            }
            for name, found in refused.items()
        },
        "median_ms": {name: time_both(*size) for name, size in TIMED_SIZES.items()},
        **describe_machine(),
    }
    for name, labels in result["refused_percent"].items():
        print(name, *(f"{label} {share}" for label, share in labels.items()), sep="  ")
    print(json.dumps(result))


def time_both(height: int, width: int) -> dict[str, float]:
    # Noise, which no branch treats as a special case.
    tile = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    pixels = np.tile(tile, (-(-height // 1000), -(-width // 1000), 1))[:height, :width]
    pixels = np.ascontiguousarray(pixels)
    times: dict[str, list[float]] = {"gates": [], "crop_rule": []}
    for _ in range(TIMED_REPEATS):
        begun = time.perf_counter()
        check_gates(pixels, PHOTO_GATES)
        checked = time.perf_counter()
        crop_positions(pixels, 128, 8)
        ended = time.perf_counter()
        times["gates"].append(checked - begun)
        times["crop_rule"].append(ended - checked)
    return {name: round(1000 * statistics.median(found), 2) for name, found in times.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    main(parser.parse_args().folder)
