"""What TensorRT builds, kept between scans: plans, each under all that it was built for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from fakescan.backends.graphs import cache_folder
from fakescan.sources.temporaries import replacing

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Where a plan is good: for one graph, one version of TensorRT and one kind of GPU."""

    graph: dict[str, str]
    tensorrt: str
    gpu: str
    compute_capability: tuple[int, int]
    largest_batch: int

    @property
    def plan_path(self) -> Path:
        """The plan's file."""
        return cache_folder() / f"{_digest(self._text())}.engine"

    @property
    def timing_path(self) -> Path:
        """The file of kernel timings, shared by all graphs on this GPU and version."""
        place = json.dumps([self.tensorrt, self.gpu, self.compute_capability])
        return cache_folder() / f"{_digest(place)}.timing"

    def _text(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    def read_plan(self) -> bytes | None:
        """The plan kept under this key; None where there is none, or it isn't whole."""
        try:
            header, _, plan = self.plan_path.read_bytes().partition(b"\n")
        except OSError:
            return None
        return plan if header == self._header(plan) else None

    def write_plan(self, plan: bytes) -> None:
        """Keep a plan."""
        write_cache(self.plan_path, self._header(plan) + b"\n" + plan)

    def _header(self, plan: bytes) -> bytes:
        return f"{self._text()} {hashlib.sha256(plan).hexdigest()}".encode()


def write_cache(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; where that fails, say so and go on without it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_bytes(data)
    except OSError as error:
        _log.warning("%s can't be kept for the next scan: %s", path, error.strerror)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
