"""From weights to an ONNX graph, held against torch before it takes its name."""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from fakescan.backends import Precision
from fakescan.backends.graphs import INPUT_NAME, OUTPUT_NAME, graph_metadata, graph_path
from fakescan.model import Detector, build_detector
from fakescan.records import FakescanError
from fakescan.weights import load_card, load_tensors

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

LARGEST_DIFFERENCE = {Precision.FP32: 1e-3, Precision.FP16: 2e-2}
"""Between a graph's logits under ONNX Runtime and torch's in fp32, at most."""

_OPSET = 18
"""Read by ONNX Runtime from 1.14, OpenVINO from 2023 and TensorRT from 8.6."""

_CHECKED_BATCHES = (1, 5)


@dataclass(frozen=True, slots=True)
class Export:
    """A finished graph, and its largest difference from torch's logits over `samples` crops."""

    path: Path
    difference: float
    samples: int


class _Graph(nn.Module):
    """A detector with casts at both ends: uint8 comes in, float32 goes out."""

    def __init__(self, detector: Detector, dtype: torch.dtype) -> None:
        super().__init__()
        self.detector = detector
        self.dtype = dtype

    def forward(self, crops: Tensor) -> Tensor:
        # TensorRT takes uint8 at its door, but only where a cast follows at once.
        logits: Tensor = self.detector(crops.to(self.dtype))
        return logits.float()


def export_graph(weights: Path, output: Path | None, precision: Precision) -> Export:
    """Write the graph of `weights`; `output` None: beside them.

    Raises FakescanError for bad weights, a precision without a graph, a folder that can't be
    written, or a graph that misses torch's logits by more than `LARGEST_DIFFERENCE`.
    """
    if precision not in LARGEST_DIFFERENCE:
        raise FakescanError(f"--precision {precision}: graphs are made in fp32 and fp16")
    card = load_card(weights)
    output = output or graph_path(weights, precision)
    detector = build_detector(card, load_tensors(weights))
    dtype = torch.float16 if precision == Precision.FP16 else torch.float32
    graph = _Graph(copy.deepcopy(detector).to(dtype), dtype).eval()
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(graph, card.input.size, unfinished, graph_metadata(card, precision))
            export = _check(detector, card.input.size, unfinished)
            if not export.difference <= LARGEST_DIFFERENCE[precision]:  # NaN fails too
                raise FakescanError(
                    f"{weights}: the {precision} graph misses torch's logits by"
                    f" {export.difference:.2g}, more than {LARGEST_DIFFERENCE[precision]:g}"
                )
            unfinished.replace(output)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise FakescanError(f"{output}: can't be written ({error.strerror})") from error
    return Export(output, export.difference, export.samples)


def _write(graph: _Graph, size: int, path: Path, metadata: dict[str, str]) -> None:
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter by tracing is the older one, and says so. It folds normalisation into the
        # convolutions and shares the weights of the mirrored pass; the newer one does neither,
        # takes six times as long (ResNet-18, torch 2.15) and doubles the file.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # left to the runtime
        torch.onnx.export(
            graph,
            (example,),
            path,
            dynamo=False,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
            opset_version=_OPSET,
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _check(detector: Detector, size: int, path: Path) -> Export:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference = 0.0
    for seed, batch in enumerate(_CHECKED_BATCHES):
        crops = _sample_crops(seed, batch, size)
        with torch.inference_mode():
            wanted = detector(torch.from_numpy(crops)).numpy()
        (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: crops})
        difference = max(difference, float(np.abs(found - wanted).max()))
    return Export(path, difference, sum(_CHECKED_BATCHES))


def _sample_crops(seed: int, count: int, size: int) -> UInt8Array:
    """Noise of every strength around every level, so that no channel stays untouched."""
    random = np.random.default_rng(seed)
    level = random.uniform(0, 255, (count, 1, 1, 3))
    strength = random.uniform(0, 80, (count, 1, 1, 1))
    noisy = level + strength * random.standard_normal((count, size, size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)
