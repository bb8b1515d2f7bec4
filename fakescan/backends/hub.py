"""Published models in plain torch: networks of transformers and timm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fakescan.backends import Precision, check_precision
from fakescan.backends.torch import DTYPES, check_torch_precision
from fakescan.hub import PublishedModel
from fakescan.hub.networks import build_published
from fakescan.model import pick_device

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class HubBackend:
    """A published network on a CPU (fp32) or on a GPU (fp16 unless asked otherwise).

    It takes whole pictures, float32 (N, 3, H, W), as processing.py prepared them.
    """

    name = "torch"

    def __init__(self, model: PublishedModel, device: str, precision: Precision | None) -> None:
        self._device = pick_device(device)
        self.device = str(self._device)
        on_cpu = self._device.type == "cpu"
        self.precision = precision or (Precision.FP32 if on_cpu else Precision.FP16)
        self.card = model.card
        check_precision(self.card, self.precision)
        check_torch_precision(self.precision, on_cpu=on_cpu)
        self._dtype = DTYPES[self.precision]
        self._network = build_published(model).to(self._device, self._dtype)

    def logits(self, crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Uncalibrated logits (N,) of prepared pictures float32 (N, 3, H, W)."""
        with torch.inference_mode():
            # A copy: what workers of --isolate sent can't be written to, which torch warns of.
            batch = torch.tensor(crops, device=self._device, dtype=self._dtype)
            logits: npt.NDArray[np.float32] = self._network(batch).cpu().numpy()
        return logits
