"""Runtimes behind one small protocol; a runtime is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fakescan.weights import ModelCard

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fakescan.records import UInt8Array


class BackendName(StrEnum):
    """What `--backend` takes."""

    AUTO = "auto"
    TORCH = "torch"


class Precision(StrEnum):
    """Arithmetic of the network. Left unsaid: fp32 on a CPU, fp16 on a GPU."""

    FP32 = "fp32"
    FP16 = "fp16"


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

    def logits(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        """Uncalibrated logits (N,) of crops uint8 (N, S, S, 3), S the card's size."""
        ...


def load_backend(
    weights: Path,
    *,
    backend: BackendName = BackendName.AUTO,
    device: str = "auto",
    precision: Precision | None = None,
) -> Backend:
    """Load one model. Raises FakescanError for bad weights, or what this machine can't do."""
    name = BackendName.TORCH if backend == BackendName.AUTO else backend
    return _LOADERS[name](weights, device, precision)


def _load_torch(weights: Path, device: str, precision: Precision | None) -> Backend:
    from fakescan.backends.torch import TorchBackend

    return TorchBackend(weights, device, precision)


_Loader = Callable[[Path, str, "Precision | None"], Backend]

_LOADERS: Mapping[BackendName, _Loader] = {BackendName.TORCH: _load_torch}
