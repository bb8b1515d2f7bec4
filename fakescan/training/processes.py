"""The processes that share a training run: the one place that knows which of them this is.

torchrun starts them and says in the environment which is which. Each takes an equal share of
every batch, and the gradients are averaged, so that a step is that of one process. The first
alone measures, writes and speaks; its clock and its Ctrl-C count for all.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from fakescan.model import pick_device
from fakescan.records import ExitCode, FakescanError

PATIENCE = timedelta(hours=12)
"""How long processes wait while the first one measures; that it died they learn at once."""

_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_ENDED = "fakescan/ended"


@dataclass(frozen=True, slots=True)
class Processes:
    """How many processes train together, and which of them this is, in all and on its machine."""

    count: int = 1
    rank: int = 0
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that measures, writes and speaks."""
        return self.rank == 0

    def pick_device(self, name: str) -> torch.device:
        """This process's device of those that `name` (auto, cpu, cuda) stands for.

        Raises FakescanError where the name is none, or there are fewer GPUs than processes.
        """
        if self.count == 1:
            return pick_device(name)
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        device = pick_device(name)
        if device.type == "cpu":
            return device
        if device != torch.device("cuda"):
            raise FakescanError(f"--device {name}: several processes train on cuda or on cpu")
        gpus = torch.cuda.device_count()
        if self.local_rank >= gpus:
            raise FakescanError(f"--nproc-per-node: a process needs a GPU of its own; found {gpus}")
        return torch.device("cuda", self.local_rank)

    def share_of(self, pictures: int) -> slice:
        """This process's part of a batch. Raises FakescanError where parts would not be equal."""
        share, over = divmod(pictures, self.count)
        if over or not share:
            raise FakescanError(
                f"--batch-size: {self.count} processes can't share {pictures} pictures equally"
            )
        return slice(self.rank * share, (self.rank + 1) * share)

    def join(self, network: nn.Module, device: torch.device) -> nn.Module:
        """What to call in place of `network`, so that its gradients are averaged.

        On CUDA batch normalisation becomes one over all shares, in `network` itself. torch has
        none for CPUs: there each share is normalised by itself, and the first's averages count.
        """
        if self.count == 1:
            return network
        if device.type == "cpu":
            return DistributedDataParallel(network)
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(network, device_ids=[device.index])

    def average(self, value: float) -> float:
        """The mean of every process's `value`."""
        if self.count == 1:
            return value
        total = _on_cpu(value)
        dist.all_reduce(total)
        return float(total) / self.count

    def follow(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The first process's values, for all. Waits for it, for as long as `PATIENCE`."""
        if self.count == 1:
            return seconds, stop
        values = _on_cpu(seconds, stop)
        dist.broadcast(values, 0)
        return float(values[0]), bool(values[1])

    def wait_for_first(self) -> None:
        """Go on when the first process has come here too."""
        self.follow(0.0, False)


ALONE = Processes()


def _on_cpu(*values: float) -> Tensor:
    # There they need not wait for a GPU's work, nor its network for theirs.
    return torch.tensor(values, dtype=torch.float64)


def read_processes(environment: Mapping[str, str]) -> Processes:
    """What torchrun wrote into `environment`. Raises FakescanError where a part is missing."""
    if environment.get("WORLD_SIZE", "1") == "1":
        return ALONE
    missing = [name for name in _VARIABLES if not environment.get(name)]
    if missing:
        raise FakescanError(
            f"WORLD_SIZE is set and {missing[0]} is not: start several processes with torchrun"
        )
    try:
        count, rank, local_rank = (
            int(environment[name]) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK")
        )
    except ValueError:
        raise FakescanError(
            "WORLD_SIZE, RANK and LOCAL_RANK are whole numbers: start processes with torchrun"
        ) from None
    return Processes(count, rank, local_rank)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """The processes of this run, connected where there are several, to train on `device`.

    Whichever meets a mistake first says so, for all; the others end without a word. Ctrl-C is the
    first one's: the others wait until it has saved what it needs.
    """
    processes = read_processes(os.environ)
    if processes.count == 1:
        yield processes
        return
    store, _, _ = next(rendezvous("env://"))
    try:
        with _leave_interruptions_to_first(processes):
            _connect(processes, processes.pick_device(device), store)
            yield processes
    except KeyboardInterrupt:
        if processes.is_first:
            store.add(_ENDED, 1)
            raise
        store.wait([_ENDED], PATIENCE)
        raise SystemExit(ExitCode.INTERRUPTED) from None
    except (FakescanError, RuntimeError):
        # A process that ends breaks the connections of the others, to which that is an error.
        if store.add(_ENDED, 1) > 1:
            raise SystemExit(ExitCode.DID_NOT_RUN) from None
        raise
    dist.destroy_process_group()


def _connect(processes: Processes, device: torch.device, store: Any) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=processes.rank,
        world_size=processes.count,
        timeout=PATIENCE,
    )


@contextmanager
def _leave_interruptions_to_first(processes: Processes) -> Iterator[None]:
    # torchrun passes Ctrl-C on to all, each in the middle of something else.
    if processes.is_first or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
