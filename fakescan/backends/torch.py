"""Plain torch: the runtime that is always there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fakescan.backends import Precision
from fakescan.model import build_detector, pick_device
from fakescan.records import FakescanError
from fakescan.weights import ModelCard, load_card, load_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fakescan.records import UInt8Array


class TorchBackend:
    """A detector on a CPU (channels last, fp32) or on a GPU (fp16 unless asked otherwise)."""

    name = "torch"

    def __init__(self, weights: Path, device: str, precision: Precision | None) -> None:
        self._device = pick_device(device)
        on_cpu = self._device.type == "cpu"
        chosen = precision or (Precision.FP32 if on_cpu else Precision.FP16)
        if on_cpu and chosen != Precision.FP32:
            raise FakescanError(f"--precision {chosen}: the torch backend computes fp32 on a CPU")
        self._card = load_card(weights)
        self._precision = chosen
        detector = build_detector(self._card, load_tensors(weights))
        dtype = torch.float16 if chosen == Precision.FP16 else torch.float32
        self._detector = detector.to(self._device, dtype).to(memory_format=torch.channels_last)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._card

    @property
    def precision(self) -> str:
        """`fp32` or `fp16`."""
        return self._precision.value

    def logits(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        """Uncalibrated logits (N,) of crops uint8 (N, S, S, 3)."""
        with torch.inference_mode():
            batch = torch.from_numpy(crops).to(self._device, non_blocking=True)
            logits: npt.NDArray[np.float32] = self._detector(batch).float().cpu().numpy()
        return logits
