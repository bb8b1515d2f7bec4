"""ONNX graphs on the CPU, by ONNX Runtime or OpenVINO. Neither loads torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakescan.backends import BackendName, Precision, card_of, check_precision
from fakescan.backends.graphs import INPUT_NAME, OUTPUT_NAME, require_graph
from fakescan.hub import LocatedModel
from fakescan.memory import is_out_of_memory
from fakescan.records import FakescanError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Run = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]


class OnnxBackend:
    """A graph in ONNX Runtime (`onnx`) or OpenVINO (`openvino`), on all cores, in fp32.

    Where the card allows it they also compute int8, from a graph of its own, and OpenVINO bf16.
    """

    device = "cpu"

    def __init__(
        self,
        model: LocatedModel,
        device: str,
        precision: Precision | None,
        runtime: BackendName = BackendName.ONNX,
    ) -> None:
        self.name = runtime.value
        self.precision = precision or Precision.FP32
        if device not in {"auto", "cpu"}:
            raise FakescanError(
                f"--device {device}: the {runtime} backend runs on the CPU;"
                " GPUs are for --backend tensorrt or torch"
            )
        offered = {Precision.FP32, Precision.INT8}
        if runtime == BackendName.OPENVINO:
            offered.add(Precision.BF16)
        self.card = card_of(model)
        check_precision(self.card, self.precision)
        if self.precision not in offered:
            raise FakescanError(
                f"--precision {precision}: the {runtime} backend computes"
                f" {' or '.join(sorted(offered))}"
            )
        # OpenVINO rounds to bf16 by itself; int8 needs ranges, which a graph of its own holds.
        stored = Precision.FP32 if self.precision == Precision.BF16 else self.precision
        graph = require_graph(model, self.card, stored)
        if runtime == BackendName.OPENVINO:
            self._run = open_openvino(graph, self.precision)
        else:
            self._run = open_onnxruntime(graph)

    def logits(self, crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Uncalibrated logits (N,) of crops uint8 (N, S, S, 3), or of prepared pictures."""
        return self._run(crops)


def open_onnxruntime(graph: Path) -> Run:
    """The graph in ONNX Runtime, in whatever precision it stands; FakescanError for a bad one."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = _threads()
    # Threads that spin while they wait for work would take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            graph, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except (
        errors.Fail,
        errors.InvalidGraph,
        errors.InvalidProtobuf,
        errors.NotImplemented,
        errors.RuntimeException,
    ) as error:
        raise _unusable(graph, "ONNX Runtime") from error

    def run(crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        try:
            (logits,) = session.run([OUTPUT_NAME], {INPUT_NAME: crops})
        except (errors.Fail, errors.RuntimeException) as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            raise
        return logits  # type: ignore[no-any-return]

    return run


def open_openvino(graph: Path, precision: Precision = Precision.FP32) -> Run:
    """The graph in OpenVINO, rounded to bf16 where asked; FakescanError for a bad one."""
    import openvino

    hint = openvino.Type.bf16 if precision == Precision.BF16 else openvino.Type.f32
    try:
        # Left to itself OpenVINO computes bf16 on processors that can: scores would differ
        # between machines.
        compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hint,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": _threads(),
            },
        )
    except RuntimeError as error:
        raise _unusable(graph, "OpenVINO") from error

    lock = threading.Lock()

    def run(crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        # A copy: the array is OpenVINO's own, overwritten by the next batch, whoever's it is.
        with lock:
            return compiled(crops)[0].copy()  # type: ignore[no-any-return]

    return run


def _threads() -> int:
    """How many threads compute; 0 leaves it to the runtime, which takes all cores."""
    # What schedulers set for a process that has a part of the machine; torch reads it by itself.
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else 0


def _unusable(graph: Path, runtime: str) -> FakescanError:
    return FakescanError(f"{graph}: {runtime} can't load it; delete it, and it is made again")
