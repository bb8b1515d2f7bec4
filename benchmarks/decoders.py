"""Which JPEG decoder is the quickest whose pixels are Pillow's: `python benchmarks/decoders.py`.

One thread, the same bytes in memory for each, in turns, median of the rounds; with
`benchmark.material`'s pictures. The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg
import torch
from machine import describe_machine
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from fakescan.benchmark.material import SIZES, make_pictures

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

COUNTS = {0.3: 60, 2.0: 20, 12.0: 5}
ROUNDS = 5


def by_pillow(data: bytes) -> UInt8Array:
    return np.asarray(Image.open(io.BytesIO(data)))


def by_torchvision(data: bytes) -> UInt8Array:
    stream = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    # From planes to pixels, as everything after wants them.
    pixels: UInt8Array = decode_jpeg(stream, ImageReadMode.RGB).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels)


def by_simplejpeg(data: bytes) -> UInt8Array:
    pixels: UInt8Array = simplejpeg.decode_jpeg(data, "RGB")
    return pixels


DECODERS: dict[str, Callable[[bytes], UInt8Array]] = {
    "pillow": by_pillow,
    "torchvision": by_torchvision,
    "simplejpeg": by_simplejpeg,
}


def measure(megapixels: float) -> dict[str, object]:
    """Pictures a second of each decoder, and whether all of its pixels are Pillow's."""
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder), COUNTS[megapixels], [megapixels])
        files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    wanted = [by_pillow(data) for data in files]
    rates: dict[str, list[float]] = {name: [] for name in DECODERS}
    for _ in range(ROUNDS):
        for name, decode in DECODERS.items():
            begun = time.perf_counter()
            for data in files:
                decode(data)
            rates[name].append(len(files) / (time.perf_counter() - begun))
    return {
        name: {
            "images_per_second": round(statistics.median(rates[name]), 1),
            "identical": all(
                np.array_equal(decode(data), pixels)
                for data, pixels in zip(files, wanted, strict=True)
            ),
        }
        for name, decode in DECODERS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", type=Path, help="Write the figures here, too.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures = {f"{size:g} MP": measure(size) for size in SIZES}
    line = json.dumps({**figures, **describe_machine()})
    if arguments.result is not None:
        arguments.result.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
