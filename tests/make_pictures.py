"""Render the small pictures in tests/pictures: `python tests/make_pictures.py`.

They are drawings by this script; only their metadata means anything. Camera names and prompts in
them are made up for the purpose, as anybody could: that is what they show.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, PngImagePlugin

FOLDER = Path(__file__).parent / "pictures"


def render(seed: int, width: int = 192, height: int = 128) -> Image.Image:
    """A small landscape: sky, hills, a sun and some grain."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    sky = np.array([90, 140, 210]) + (rows / height)[:, :, None] * np.array([120, 70, 10])
    for layer in range(3):
        waves = generator.uniform(0.02, 0.08), generator.uniform(0, 6)
        ridge = height * (0.45 + 0.17 * layer) + 9 * np.sin(columns * waves[0] + waves[1])
        ridge += 4 * np.sin(columns * waves[0] * 3.1)
        color = np.array([60, 90, 70]) * (1 - 0.25 * layer) + generator.uniform(-15, 15, 3)
        sky = np.where((rows > ridge)[:, :, None], color, sky)
    grain = generator.normal(0, 3, sky.shape)
    picture = Image.fromarray(np.clip(sky + grain, 0, 255).astype(np.uint8))
    x, y = int(generator.integers(0, width - 18)), int(generator.integers(4, height // 4))
    ImageDraw.Draw(picture).ellipse((x, y, x + 18, y + 18), fill=(255, 236, 170))
    return picture


def camera_exif() -> Image.Exif:
    exif = Image.Exif()
    exif.update({0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0112: 6, 0x0132: "2019:03:02 08:15:44"})
    photo = exif.get_ifd(0x8769)
    photo.update(
        {
            0x829A: (1, 250),
            0x829D: (28, 10),
            0x8827: 200,
            0x9003: "2019:03:02 08:15:44",
            0x9011: "+01:00",
            0x920A: (50, 1),
            0xA434: "EF50mm f/1.8 STM",
        }
    )
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0)})
    return exif


def text(**chunks: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for keyword, value in chunks.items():
        info.add_text(keyword, value)
    return info


def xmp(source_type: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{source_type}"'
        "/></rdf:RDF></x:xmpmeta>"
    ).encode()


def make(folder: Path) -> None:
    """Write every picture; the same bytes each time."""
    (folder / "camera").mkdir(parents=True, exist_ok=True)
    (folder / "generators").mkdir(exist_ok=True)
    (folder / "plain").mkdir(exist_ok=True)
    render(1).save(folder / "camera" / "canon.jpg", quality=88, exif=camera_exif())
    edited = camera_exif()
    edited[0x0131] = "Adobe Photoshop 25.0 (Windows)"
    render(2).save(folder / "camera" / "edited.tif", compression="tiff_lzw", exif=edited)
    settings = (
        "a harbour at dusk, fishing boats\nNegative prompt: blurry\n"
        "Steps: 28, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1234, Size: 192x128, Version: v1.10.1"
    )
    generators = folder / "generators"
    render(3).save(generators / "webui.png", pnginfo=text(parameters=settings))
    nodes = {"3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 20}}}
    render(4).save(
        generators / "comfyui.png",
        pnginfo=text(
            prompt=json.dumps(nodes), workflow=json.dumps({"last_node_id": 9, "nodes": []})
        ),
    )
    render(5).save(generators / "declared.webp", quality=80, xmp=xmp("trainedAlgorithmicMedia"))
    render(6).save(
        generators / "retouched.jpg", quality=85, xmp=xmp("compositeWithTrainedAlgorithmicMedia")
    )
    plain = folder / "plain"
    render(7).save(plain / "no-metadata.jpg", quality=75)
    render(8).save(plain / "animated.gif", save_all=True, append_images=[render(9)], duration=300)
    render(10, 32, 32).save(plain / "thumbnail-32.png")
    render(11).save(plain / "picture.bmp")
    render(12).save(plain / "picture.avif", quality=70)
    whole = io.BytesIO()
    render(13).save(whole, "JPEG", quality=85)
    (plain / "broken.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (plain / "notes.txt").write_text("A scan counts this file and passes it over.\n", "utf-8")


if __name__ == "__main__":
    make(FOLDER)
