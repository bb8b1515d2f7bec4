"""From an fp32 graph to an int8 one, its ranges measured on real windows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

from fakescan.backends import Precision
from fakescan.backends.graphs import INPUT_NAME, graph_metadata, graph_path, require_graph
from fakescan.records import FakescanError
from fakescan.sources.temporaries import replacing
from fakescan.weights import load_card

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

_WINDOWS_A_BATCH = 16

# What is heavy. All else, handcrafted statistics among it, stays in fp32.
_QUANTIZED = ["Conv", "Gemm", "MatMul"]


def quantize_graph(weights: Path, crops: UInt8Array, output: Path | None = None) -> Path:
    """Write the int8 graph of `weights`; `output` None: beside them.

    Static quantisation in ONNX's QDQ form: uint8 activations between the extremes that `crops`
    (N, S, S, 3) give, int8 weights by channel. Weights keep to seven bits, for processors without
    VNNI add pairs of products in 16. Raises FakescanError as `require_graph` does, and for a
    folder that can't be written.
    """
    card = load_card(weights)
    output = output or graph_path(weights, Precision.INT8)
    exact = require_graph(weights, card, Precision.FP32)
    try:
        with tempfile.TemporaryDirectory(prefix="fakescan-quantization-") as folder:
            prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
            quant_pre_process(exact, prepared, skip_symbolic_shape=True)
            quantize_static(
                prepared,
                quantized,
                _Windows(crops),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=_QUANTIZED,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_fixed_nodes(prepared),
            )
            model = onnx.load(quantized)
        onnx.helper.set_model_props(model, graph_metadata(card, Precision.INT8))
        onnx.checker.check_model(model)
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as unfinished:
            onnx.save(model, unfinished)
    except OSError as error:
        raise FakescanError(f"{output}: can't be written ({error.strerror})") from error
    return output


def _fixed_nodes(path: Path) -> list[str]:
    # Counts and cosines of the photo network: eight bits would be coarser than what they tell.
    graph = onnx.load(path, load_external_data=False).graph
    return [node.name for node in graph.node if "/statistics/" in node.name]


class _Windows(CalibrationDataReader):  # type: ignore[misc]  # untyped
    """Windows in batches, as the quantiser asks for them."""

    def __init__(self, crops: UInt8Array) -> None:
        self._batches = self._cut(crops)

    @staticmethod
    def _cut(crops: UInt8Array) -> Iterator[Mapping[str, UInt8Array]]:
        for start in range(0, len(crops), _WINDOWS_A_BATCH):
            yield {INPUT_NAME: crops[start : start + _WINDOWS_A_BATCH]}

    def get_next(self) -> Mapping[str, UInt8Array] | None:
        """The next batch, or None."""
        return next(self._batches, None)
