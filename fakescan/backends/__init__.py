"""Runtimes behind one small protocol; a runtime is imported only when it is asked for."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fakescan.hub import LocatedModel, PublishedModel
from fakescan.records import FakescanError, how_to_install
from fakescan.weights import ModelCard, load_card

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


# ONNX Runtime and OpenVINO report their use to their makers, from the first import on, unless they
# are told not to. Nothing leaves this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class BackendName(StrEnum):
    """What `--backend` takes."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """Arithmetic of the network. Left unsaid: fp32 on a CPU, fp16 on a GPU.

    bf16 and int8 are only for models whose card allows them: see `check_precision`.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


MOST_VERDICTS_CHANGED = 0.005
"""The share of verdicts on validation pictures that faster arithmetic may change."""

VERDICTS_CHANGED = "verdicts_changed"
"""Under which name a card's metrics hold these shares, by precision."""


class Backend(Protocol):
    """One model, loaded into one runtime."""

    @property
    def name(self) -> str:
        """The runtime's name, as rows show it."""
        ...

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        ...

    @property
    def precision(self) -> str:
        """The arithmetic used, as rows show it."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, as torch names devices: cpu, cuda:0, mps."""
        ...

    def logits(self, crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Uncalibrated logits (N,) of crops uint8 (N, S, S, 3), S the card's size.

        Of a published model the crops are whole pictures as prepared, float32 (N, 3, H, W).
        """
        ...


def load_backend(
    model: LocatedModel,
    *,
    backend: BackendName = BackendName.AUTO,
    device: str = "auto",
    precision: Precision | None = None,
) -> Backend:
    """Load one model. Raises FakescanError for bad weights, or what this machine can't do."""
    if backend != BackendName.AUTO:
        return _LOADERS[backend](model, device, precision)
    return _load_best(model, device, precision)


def card_of(model: LocatedModel, *, as_shipped: bool = False) -> ModelCard:
    """The card to load a model by; `as_shipped` and errors as for `load_card`.

    That of a published model was chosen when it was found.
    """
    if isinstance(model, PublishedModel):
        return model.card
    return load_card(model, as_shipped=as_shipped)


def check_precision(card: ModelCard, precision: Precision) -> None:
    """Refuse bf16 and int8 unless the card records that they change next to no verdict.

    The record is `metrics.verdicts_changed.PRECISION`: the share of validation pictures judged
    otherwise than in fp32. A model without thresholds gives no verdicts that could change. Raises
    FakescanError where the record is missing or too large.
    """
    if precision not in {Precision.BF16, Precision.INT8} or card.thresholds is None:
        return
    records = card.metrics.get(VERDICTS_CHANGED)
    changed = records.get(precision.value) if isinstance(records, Mapping) else None
    if not isinstance(changed, int | float):
        raise FakescanError(
            f"--precision {precision}: nobody has measured how many verdicts of model"
            f" {card.name} it changes; leave the option out, or measure:"
            f" fakescan export --model {card.name} --precision {precision}"
            " --data PICTURES"
        )
    if not changed <= MOST_VERDICTS_CHANGED:
        raise FakescanError(
            f"--precision {precision}: it changes {changed:.2%} of the verdicts of model"
            f" {card.name}, and {MOST_VERDICTS_CHANGED:.1%} at most is allowed"
        )


def _load_best(model: LocatedModel, device: str, precision: Precision | None) -> Backend:
    """A GPU through TensorRT, else torch; a CPU through a graph made before, else torch."""
    if device.startswith("cuda") or (device == "auto" and _has_nvidia_gpu()):
        if precision in {None, Precision.FP16} and isinstance(model, Path):
            try:
                return _load_tensorrt(model, device, precision)
            except FakescanError as error:
                backend = _load_torch(model, device, precision)  # or says that there is no GPU
                _log.warning("%s; torch runs the network instead", error)
                return backend
    elif device in {"auto", "cpu"} and precision in {None, Precision.FP32}:
        from fakescan.backends.graphs import find_graph

        installed = [name for name, module in _GRAPH_RUNTIMES.items() if find_spec(module)]
        if installed and find_graph(model, card_of(model), Precision.FP32):
            return _LOADERS[installed[0]](model, device, precision)
    return _load_torch(model, device, precision)


_log = logging.getLogger(__name__)

_GRAPH_RUNTIMES = {BackendName.ONNX: "onnxruntime", BackendName.OPENVINO: "openvino"}


def _has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver has a device to offer; torch would take seconds to say."""
    import ctypes
    import sys

    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


def _load_torch(model: LocatedModel, device: str, precision: Precision | None) -> Backend:
    if isinstance(model, PublishedModel):
        from fakescan.backends.hub import HubBackend

        return HubBackend(model, device, precision)
    from fakescan.backends.torch import TorchBackend

    return TorchBackend(model, device, precision)


def _load_onnx(model: LocatedModel, device: str, precision: Precision | None) -> Backend:
    return _load_graph(model, device, precision, BackendName.ONNX)


def _load_openvino(model: LocatedModel, device: str, precision: Precision | None) -> Backend:
    return _load_graph(model, device, precision, BackendName.OPENVINO)


def _load_graph(
    model: LocatedModel, device: str, precision: Precision | None, runtime: BackendName
) -> Backend:
    if find_spec(_GRAPH_RUNTIMES[runtime]) is None:
        raise _not_installed(runtime)
    from fakescan.backends.onnx import OnnxBackend

    return OnnxBackend(model, device, precision, runtime)


def _load_tensorrt(model: LocatedModel, device: str, precision: Precision | None) -> Backend:
    if isinstance(model, PublishedModel):
        raise FakescanError(
            f"--backend tensorrt is for fakescan's own models; {model.card.name} runs on torch"
        )
    if find_spec("tensorrt") is None:
        raise _not_installed(BackendName.TENSORRT)
    try:
        from fakescan.backends.tensorrt import TensorRTBackend
    except ImportError as error:
        # Its libraries are installed apart from it, for one major version of CUDA.
        raise FakescanError(f"--backend tensorrt: TensorRT doesn't load ({error})") from error
    return TensorRTBackend(model, device, precision)


def _not_installed(backend: BackendName) -> FakescanError:
    return FakescanError(f"--backend {backend} is not installed: {how_to_install(backend)}")


_Loader = Callable[[LocatedModel, str, "Precision | None"], Backend]

_LOADERS: Mapping[BackendName, _Loader] = {
    BackendName.TORCH: _load_torch,
    BackendName.ONNX: _load_onnx,
    BackendName.OPENVINO: _load_openvino,
    BackendName.TENSORRT: _load_tensorrt,
}
