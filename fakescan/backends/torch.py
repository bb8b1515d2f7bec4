"""Plain torch: the runtime that is always there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fakescan.backends import Precision, check_precision
from fakescan.backends.cuda import FixedBatches, Launch
from fakescan.model import build_detector, pick_device
from fakescan.records import FakescanError
from fakescan.weights import load_card, load_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from fakescan.records import UInt8Array

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.BF16: torch.bfloat16,
}


def check_torch_precision(precision: Precision, *, on_cpu: bool) -> None:
    """Raise FakescanError where torch doesn't compute it there."""
    if precision not in DTYPES or (on_cpu and precision == Precision.FP16):
        offered = "fp32 or bf16 on a CPU" if on_cpu else "fp32, fp16 or bf16"
        raise FakescanError(f"--precision {precision}: the torch backend computes {offered}")


class TorchBackend:
    """A detector on a CPU (channels last, fp32) or on a GPU (fp16 unless asked otherwise).

    On NVIDIA GPUs batches have fixed sizes and run as CUDA graphs. MPS takes the plain path, and
    has never been tested.
    """

    name = "torch"

    def __init__(self, weights: Path, device: str, precision: Precision | None) -> None:
        self._device = pick_device(device)
        self.device = str(self._device)
        on_cpu = self._device.type == "cpu"
        self.precision = precision or (Precision.FP32 if on_cpu else Precision.FP16)
        self.card = load_card(weights)
        check_precision(self.card, self.precision)
        check_torch_precision(self.precision, on_cpu=on_cpu)
        detector = build_detector(self.card, load_tensors(weights))
        detector = detector.compute_in(DTYPES[self.precision]).to(self._device)
        self._detector = detector.to(memory_format=torch.channels_last)
        self._batches = (
            FixedBatches(self._device, self.card.input.size, self._prepare)
            if self._device.type == "cuda"
            else None
        )

    def logits(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        """Uncalibrated logits (N,) of crops uint8 (N, S, S, 3)."""
        if self._batches is not None:
            return self._batches.logits(crops)
        with torch.inference_mode():
            batch = torch.from_numpy(crops).to(self._device)
            logits: npt.NDArray[np.float32] = self._detector(batch).float().cpu().numpy()
        return logits

    def _prepare(self, crops: Tensor, logits: Tensor) -> Launch:
        def launch() -> None:
            # Without this cuDNN rounds fp32 to TF32, and logits stray from a CPU's by 1e-2.
            exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            with torch.inference_mode(), exact:
                logits.copy_(self._detector(crops))

        return launch
