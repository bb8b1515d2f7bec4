"""Stand-ins for streams and graphs, so that what runs on a GPU runs here on the CPU."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest


class FakeStream:
    cuda_stream = 7

    def __init__(self, device: object = None) -> None:
        pass

    def wait_stream(self, other: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


@dataclass
class FakeCuda:
    """What the patched torch was asked for."""

    captures: int = 0
    replays: int = 0
    streams: list[object] = field(default_factory=list)

    def capture(self, launch: Callable[[], None], stream: object) -> Callable[[], None]:
        self.captures += 1
        launch()  # capturing issues the work once, without running it
        # A graph knows addresses and keeps nothing alive that lies there.
        captured = weakref.ref(launch)

        def replay() -> None:
            self.replays += 1
            alive = captured()
            assert alive is not None, "the graph replays what was freed"
            alive()

        return replay


def patch_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    import torch

    cuda = FakeCuda()

    def enter(stream: Any) -> contextlib.AbstractContextManager[None]:
        cuda.streams.append(stream)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", enter)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)
    monkeypatch.setattr("fakescan.backends.cuda.capture", cuda.capture)
    return cuda
