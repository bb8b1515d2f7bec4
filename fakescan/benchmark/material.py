"""What is measured with, where nothing was given: pictures, and a model that judges them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from fakescan.backends import BackendName, Precision
from fakescan.weights import Architecture, ArchitectureName, Domain, Input, ModelCard, save_model

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

SIZES = {0.3: (640, 480), 2.0: (1632, 1224), 12.0: (4000, 3000)}
"""Megapixels of the pictures made: a thumbnail on the web, a screen, a camera's file."""

# ImageNet's mean and deviation, the usual ones of a ResNet at 224 px (He et al. 2016).
RESNET_INPUT = Input(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_DOMAIN = Domain(RESNET_INPUT.size, None, "any picture of 224 px and more")
_ARCHITECTURE = Architecture(ArchitectureName.RESNET50.value, {"wide_stem": True})


def make_pictures(folder: Path, count: int, megapixels: Sequence[float]) -> None:
    """Write `count` JPEGs of these sizes in turn: shapes on a gradient, with a sensor's noise.

    Qualities from 85 to 92, with 4:2:0 and 4:4:4, as cameras and sites write them; about 0.25
    bytes a pixel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    noise = {
        size: random.normal(0, 2.5, (SIZES[size][1], SIZES[size][0], 1)).astype(np.float32)
        for size in sorted(set(megapixels))
    }
    for number in range(count):
        size = megapixels[number % len(megapixels)]
        picture = _draw(random, np.roll(noise[size], random.integers(1, 400, 2), (0, 1)))
        picture.save(
            folder / f"{number:05}.jpg",
            quality=85 + number % 8,
            subsampling=("4:2:0", "4:4:4")[number // len(megapixels) % 2],
        )


def _draw(random: np.random.Generator, noise: np.ndarray[Any, Any]) -> Image.Image:
    height, width, _ = noise.shape
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        center = random.uniform((0, 0), (width, height))
        reach = random.uniform(0.02, 0.2) * width
        color = tuple(int(level) for level in random.integers(0, 256, 3))
        draw.ellipse((*(center - reach), *(center + reach)), fill=color)
    pixels = np.asarray(picture, np.float32) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def make_model(
    folder: Path, backend: BackendName, precision: Precision | None, windows: UInt8Array
) -> Path:
    """Weights of a random ResNet-50 at 224 px, with the graph that `backend` may need beside.

    The ranges of int8 come from `windows` (N, 224, 224, 3).
    """
    import torch

    from fakescan.model import build_network

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        tensors = build_network(_ARCHITECTURE).state_dict()
    for name, tensor in tensors.items():
        if name.endswith("bn3.weight"):
            tensor.fill_(0.1)  # untrained residuals grow from block to block, beyond fp16
    card = ModelCard(
        name="resnet50-224-random",
        version="0",
        sha256="",
        architecture=_ARCHITECTURE,
        input=RESNET_INPUT,
        domain=_DOMAIN,
        pooling="mean",
        calibration=None,
        thresholds=None,
        license="Apache-2.0",
        training={},
        metrics={},
        limits=("Its weights are random.",),
    )
    weights = save_model(folder, card, tensors)
    if backend != BackendName.TORCH:
        try:
            from fakescan.backends.conversion import export_graph
        except ImportError:
            return weights  # then the backend says what it needs, or is torch
        # Beside the weights, so that it goes when they go.
        needed = Precision.FP16 if backend == BackendName.TENSORRT else Precision.FP32
        export_graph(weights, None, needed)
        if precision == Precision.INT8:
            from fakescan.backends.quantization import quantize_graph

            quantize_graph(weights, windows)
    return weights
