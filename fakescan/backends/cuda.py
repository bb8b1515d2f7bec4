"""Batches of a few fixed sizes on one NVIDIA GPU: pinned copies and graphs on their own stream."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

LARGEST_BATCH = 256
"""Larger ones gain nothing for networks of ResNet-50's size, and each size keeps its buffers."""

_SMALLEST_BATCH = 8

_LOCK = threading.Lock()
"""A size's buffers serve one batch at a time, and a process captures one graph at a time."""

Launch = Callable[[], None]
Prepare = Callable[[Tensor, Tensor], Launch]


class FixedBatches:
    """Runs a network on crops, padded to the next power of two, on buffers that stay in place.

    `prepare` gets uint8 crops (B, S, S, 3) and float32 logits (B,) on the device, and gives the
    function that computes the second from the first on the current stream. What a size does from
    its second use on is one CUDA graph: a scan of one picture is spared the capture. Any number of
    threads may ask; one at a time is answered.
    """

    def __init__(self, device: torch.device, size: int, prepare: Prepare) -> None:
        self._device = device
        self._size = size
        self._prepare = prepare
        self._batches: dict[int, _Batch] = {}
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # The weights may still be on their way.
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def logits(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        """Logits (N,) of crops uint8 (N, S, S, 3), `LARGEST_BATCH` at a time."""
        parts = [
            self._run(crops[first : first + LARGEST_BATCH])
            for first in range(0, len(crops), LARGEST_BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _run(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        with _LOCK, torch.cuda.stream(self._stream):
            padded = max(_SMALLEST_BATCH, 1 << (len(crops) - 1).bit_length())
            batch = self._batches.get(padded)
            if batch is None:
                batch = _Batch(self._device, padded, self._size)
                batch.launch = self._prepare(batch.crops, batch.logits)
            elif batch.captured is None:
                batch.captured, batch.launch = batch.launch, capture(batch.launch, self._stream)
            batch.host_crops[: len(crops)] = torch.from_numpy(crops)
            batch.crops.copy_(batch.host_crops, non_blocking=True)
            batch.launch()
            batch.host_logits.copy_(batch.logits, non_blocking=True)
            self._stream.synchronize()
            self._batches[padded] = batch  # one that ran out of memory begins again
            logits: npt.NDArray[np.float32] = batch.host_logits[: len(crops)].numpy().copy()
            return logits


class _Batch:
    """One size's buffers, here (pinned) and on the device."""

    launch: Launch
    captured: Launch | None = None
    """What the graph was captured from: it owns memory whose bare addresses the graph replays."""

    def __init__(self, device: torch.device, count: int, size: int) -> None:
        shape, pinned = (count, size, size, 3), device.type == "cuda"
        self.host_crops = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
        self.host_logits = torch.zeros(count, pin_memory=pinned)
        self.crops = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.logits = torch.zeros(count, device=device)


def capture(launch: Launch, stream: torch.cuda.Stream) -> Launch:
    """What `launch`, run before, does on `stream`, as one CUDA graph to be replayed."""
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    # Decoding threads may use CUDA meanwhile, and must not break the capture.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        launch()
    replay: Launch = graph.replay
    return replay
