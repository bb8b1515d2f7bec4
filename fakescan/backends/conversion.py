"""From weights to an ONNX graph, held against torch before it takes its name."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from fakescan.backends import Precision, card_of
from fakescan.backends.graphs import INPUT_NAME, OUTPUT_NAME, graph_metadata, graph_places
from fakescan.hub import LocatedModel, PublishedModel
from fakescan.hub.networks import build_published
from fakescan.model import Detector, build_detector
from fakescan.processing import processed_sides
from fakescan.records import FakescanError
from fakescan.sources.temporaries import replacing
from fakescan.weights import ModelCard, load_tensors

if TYPE_CHECKING:
    import numpy.typing as npt

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
    """A network with casts at both ends: uint8, or float32, comes in, float32 goes out."""

    def __init__(self, detector: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.detector = detector
        self.dtype = dtype

    def forward(self, crops: Tensor) -> Tensor:
        # TensorRT takes uint8 at its door, but only where a cast follows at once.
        logits: Tensor = self.detector(crops.to(self.dtype))
        return logits.float()


def export_graph(model: LocatedModel, output: Path | None, precision: Precision) -> Export:
    """Write the graph of `model`; `output` None: beside our weights, else in the cache.

    Raises FakescanError for bad weights, a precision without a graph, a folder that can't be
    written, or a graph that misses torch's logits by more than `LARGEST_DIFFERENCE`.
    """
    if precision not in LARGEST_DIFFERENCE:
        raise FakescanError(f"--precision {precision}: graphs are made in fp32 and fp16")
    card = card_of(model)
    output = output or graph_places(model, card, precision)[0]
    if isinstance(model, PublishedModel):
        detector: nn.Module = build_published(model)
    else:
        detector = build_detector(card, load_tensors(model))
    samples = [_sample(seed, batch, card) for seed, batch in enumerate(_CHECKED_BATCHES)]
    dtype = torch.float16 if precision == Precision.FP16 else torch.float32
    lowered = copy.deepcopy(detector)
    lowered = lowered.compute_in(dtype) if isinstance(lowered, Detector) else lowered.to(dtype)
    graph = _Graph(lowered, dtype).eval()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as unfinished:
            _write(graph, samples[0], unfinished, graph_metadata(card, precision), card)
            export = _check(detector, samples, unfinished)
            if not export.difference <= LARGEST_DIFFERENCE[precision]:  # NaN fails too
                raise FakescanError(
                    f"model {card.name}: the {precision} graph misses torch's logits by"
                    f" {export.difference:.2g}, more than {LARGEST_DIFFERENCE[precision]:g}"
                )
    except OSError as error:
        raise FakescanError(f"{output}: can't be written ({error.strerror})") from error
    return Export(output, export.difference, export.samples)


def _write(
    graph: _Graph,
    sample: npt.NDArray[Any],
    path: Path,
    metadata: dict[str, str],
    card: ModelCard,
) -> None:
    # Two, since the exporter takes a size of one for a constant.
    example = torch.from_numpy(np.repeat(sample[:1], 2, axis=0))
    with warnings.catch_warnings():
        # The exporter by tracing is the older one, and says so. It folds normalisation into the
        # convolutions and shares the weights of the mirrored pass; the newer one does neither,
        # takes six times as long (ResNet-18, torch 2.15) and doubles the file.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Whether a trace of another library's branches holds, the comparison with torch tells.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # left to the runtime
        try:
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
        except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
            # Other libraries' networks may do what has no name in ONNX, or can't be traced.
            raise FakescanError(
                f"model {card.name} can't be written as an ONNX graph; run it with --backend torch"
            ) from error
    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _check(detector: nn.Module, samples: list[npt.NDArray[Any]], path: Path) -> Export:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference = 0.0
    for crops in samples:
        with torch.inference_mode():
            wanted = detector(torch.from_numpy(crops)).numpy()
        (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: crops})
        difference = max(difference, float(np.abs(found - wanted).max()))
    return Export(path, difference, sum(map(len, samples)))


def _sample(seed: int, count: int, card: ModelCard) -> npt.NDArray[Any]:
    """Noise of every strength around every level, so that no channel stays untouched."""
    size = card.input.size
    if card.input.processor is None:
        noisy = _noise(seed, (count, size, size, 3))
        return np.clip(noisy, 0, 255).astype(np.uint8)
    sides = processed_sides(card.input.processor)
    if sides is None:
        raise FakescanError(
            f"model {card.name} takes pictures of many sizes, and a graph only one;"
            " run it with --backend torch"
        )
    # About the range of normalised pictures.
    values = _noise(seed, (count, *sides, 3)).transpose(0, 3, 1, 2) / 64 - 2
    return np.ascontiguousarray(values, dtype=np.float32)


def _noise(seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    level = random.uniform(0, 255, (shape[0], 1, 1, 3))
    strength = random.uniform(0, 80, (shape[0], 1, 1, 1))
    return level + strength * random.standard_normal(shape)
