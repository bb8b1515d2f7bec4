"""TensorRT 10 and 11 on an NVIDIA GPU: the graph's own precision, engines kept between scans.

TensorRT says by return values that a call failed; every one is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tensorrt as trt
import torch
from torch import Tensor
from tqdm import tqdm

from fakescan.backends import Precision, check_precision
from fakescan.backends.cuda import LARGEST_BATCH, FixedBatches, Launch
from fakescan.backends.engines import EngineKey, write_cache
from fakescan.backends.graphs import INPUT_NAME, OUTPUT_NAME, graph_metadata, require_graph
from fakescan.interruption import hold_interruptions
from fakescan.memory import speaks_of_memory
from fakescan.model import pick_device
from fakescan.records import FakescanError
from fakescan.weights import load_card

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fakescan.records import UInt8Array

T = TypeVar("T")

_OPTIMAL_BATCH = 64
_WORKSPACE_BYTES = 2 << 30

_log = logging.getLogger(__name__)


class TensorRTBackend:
    """A graph built into an engine for this GPU, in fp16 unless asked for fp32."""

    name = "tensorrt"

    def __init__(self, weights: Path, device: str, precision: Precision | None) -> None:
        self.precision = precision or Precision.FP16
        if device != "auto" and not device.startswith("cuda"):
            raise FakescanError(f"--device {device}: TensorRT runs on NVIDIA GPUs")
        self.card = load_card(weights)
        check_precision(self.card, self.precision)
        if self.precision not in {Precision.FP16, Precision.FP32}:
            raise FakescanError(
                f"--precision {self.precision}: the tensorrt backend computes fp16 or fp32"
            )
        if not torch.cuda.is_available():
            raise FakescanError("--backend tensorrt: torch finds no NVIDIA GPU here")
        self._device = pick_device("cuda" if device == "auto" else device)
        self.device = str(self._device)
        graph = require_graph(weights, self.card, self.precision)
        key = EngineKey(
            graph=graph_metadata(self.card, self.precision),
            tensorrt=trt.__version__,
            gpu=torch.cuda.get_device_name(self._device),
            compute_capability=torch.cuda.get_device_capability(self._device),
            largest_batch=LARGEST_BATCH,
        )
        size = self.card.input.size
        with torch.cuda.device(self._device):
            self._engine = _load_engine(key, graph, size, self.precision)
            self._batches = FixedBatches(self._device, size, self._prepare)

    def logits(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        """Uncalibrated logits (N,) of crops uint8 (N, S, S, 3)."""
        return self._batches.logits(crops)

    def _prepare(self, crops: Tensor, logits: Tensor) -> Launch:
        # One context a batch size: a graph freezes its shapes and addresses.
        context = _need_memory(self._engine.create_execution_context, "making an execution context")
        _need(context.set_input_shape(INPUT_NAME, tuple(crops.shape)), "setting the batch's shape")
        _need(
            tuple(context.get_tensor_shape(OUTPUT_NAME)) == tuple(logits.shape),
            "inferring the logits' shape",
        )
        # TensorRT keeps the bare addresses; FixedBatches keeps the tensors, aligned by torch.
        for name, tensor in ((INPUT_NAME, crops), (OUTPUT_NAME, logits)):
            _need(context.set_tensor_address(name, tensor.data_ptr()), f"binding {name}")

        def launch() -> None:
            stream = torch.cuda.current_stream(self._device).cuda_stream
            _need_memory(lambda: context.execute_async_v3(stream), "running the engine")

        return launch


def _load_engine(key: EngineKey, graph: Path, size: int, precision: Precision) -> Any:
    runtime = _construct(trt.Runtime, _LOGGER)
    plan = key.read_plan()
    if plan is not None:
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is not None and _fits(engine, size):
            return engine
        _log.info("The engine kept for %s doesn't load here any more.", graph.name)
    plan = _build_plan(key, graph, size, precision)
    engine = _need(runtime.deserialize_cuda_engine(plan), "loading the engine just built")
    _need(_fits(engine, size), "building an engine for these windows")
    key.write_plan(plan)
    return engine


def _fits(engine: Any, size: int) -> bool:
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if names != {INPUT_NAME, OUTPUT_NAME}:
        return False
    largest = engine.get_tensor_profile_shape(INPUT_NAME, 0)[2]
    return (
        engine.get_tensor_mode(INPUT_NAME) == trt.TensorIOMode.INPUT
        and engine.get_tensor_dtype(INPUT_NAME) == trt.DataType.UINT8
        and engine.get_tensor_dtype(OUTPUT_NAME) == trt.DataType.FLOAT
        and tuple(largest) == (LARGEST_BATCH, size, size, 3)
    )


def _build_plan(key: EngineKey, graph: Path, size: int, precision: Precision) -> bytes:
    builder = _construct(trt.Builder, _LOGGER)
    flags = 0
    if int(trt.__version__.split(".")[0]) < 11:
        # From 11 on all networks are; before, precision would be TensorRT's choice.
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _need(builder.create_network(flags), "making a network")
    parser = _construct(trt.OnnxParser, network, _LOGGER)
    if not parser.parse(graph.read_bytes()):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise FakescanError(f"{graph}: TensorRT can't read it: {_one_line('; '.join(errors))}")
    config = _need(builder.create_builder_config(), "making a configuration")
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.max_aux_streams = 0  # the simplest for CUDA graphs
    if precision == Precision.FP32:
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = _need(builder.create_optimization_profile(), "making a profile")
    shapes = [(batch, size, size, 3) for batch in (1, _OPTIMAL_BATCH, LARGEST_BATCH)]
    profile.set_shape(INPUT_NAME, *shapes)
    _need(config.add_optimization_profile(profile) >= 0, "adding the profile of batch sizes")
    _use_timings(config, key.timing_path)
    # An exception can't pass through TensorRT.
    with hold_interruptions() as interruptions:
        config.progress_monitor = _Progress(interruptions)
        plan = builder.build_serialized_network(network, config)
    plan = bytes(_need(plan, "building an engine"))
    timings = config.get_timing_cache()
    if timings is not None:
        write_cache(key.timing_path, bytes(_need(timings.serialize(), "keeping timings")))
    return plan


def _use_timings(config: Any, path: Path) -> None:
    kept = path.read_bytes() if path.is_file() else b""
    timings = config.create_timing_cache(kept)
    if timings is None or not config.set_timing_cache(timings, False):
        empty = _need(config.create_timing_cache(b""), "making a timing cache")
        _need(config.set_timing_cache(empty, False), "setting a timing cache")


class _Log(trt.ILogger):  # type: ignore[misc]
    """Keeps the last error: return values tell only that there was one."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.last_error = ""

    def log(self, severity: Any, msg: str) -> None:
        if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
            self.last_error = msg
        _log.debug("%s", msg)


_LOGGER = _Log()


class _Progress(trt.IProgressMonitor):  # type: ignore[misc]
    """A bar on a terminal for each phase of a build, which takes a minute or more.

    The build ends at the first step after an interruption.
    """

    def __init__(self, interruptions: list[int]) -> None:
        trt.IProgressMonitor.__init__(self)
        self._interruptions = interruptions
        self._bars: dict[str, tqdm[Any]] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._bars[phase_name] = tqdm(
            total=num_steps, desc=f"TensorRT: {phase_name}", disable=None, leave=False
        )

    def step_complete(self, phase_name: str, step: int) -> bool:
        self._bars[phase_name].update()
        return not self._interruptions

    def phase_finish(self, phase_name: str) -> None:
        self._bars.pop(phase_name).close()


def _construct(make: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return make(*arguments)
    except TypeError as error:
        # So the bindings tell that the library gave nothing: no driver, or no memory.
        raise FakescanError(f"TensorRT: {make.__name__} failed{_reason()}") from error


def _need(outcome: T | None, task: str) -> T:
    # Not by truth: a new network is empty, and so false.
    if outcome is None or outcome is False:
        raise FakescanError(f"TensorRT: {task} failed{_reason()}")
    return outcome


def _need_memory(call: Callable[[], T | None], task: str) -> T:
    """As `_need`, but MemoryError where that is what there was too little of."""
    _LOGGER.last_error = ""
    try:
        return _need(call(), task)
    except FakescanError as error:
        if speaks_of_memory(_LOGGER.last_error):
            raise MemoryError(str(error)) from error
        raise


def _reason() -> str:
    return f": {_one_line(_LOGGER.last_error)}" if _LOGGER.last_error else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
