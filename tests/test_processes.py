"""Several processes: the parts alone, and two of them on the CPU, through torchrun, on loopback.

What two processes make is set against what one makes in float32 and without batch normalisation:
on CPUs each normalises its own share, which is another computation, and not a less exact one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import run
from test_photos import folder as photo_folder  # noqa: F401 (a fixture)
from test_training import made_set  # noqa: F401 (a fixture)
from test_training import options as run_options
from torch import nn

from fakescan.interruption import hold_interruptions
from fakescan.model import build_network
from fakescan.records import FakescanError
from fakescan.training import processes as processes_module
from fakescan.training.crossfit import CONDITIONS
from fakescan.training.folds import FOLDS, fold_weights
from fakescan.training.loop import train_on
from fakescan.training.material import read_material
from fakescan.training.processes import ALONE, Processes, join_processes, read_processes
from fakescan.weights import Architecture, load_card, load_tensors

TORCHRUN = {
    "WORLD_SIZE": "4",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}

# The environment


def test_without_torchrun_there_is_one_process() -> None:
    assert read_processes({}) == ALONE
    assert read_processes({"WORLD_SIZE": "1", "RANK": "0"}) == ALONE
    with join_processes("cpu") as processes:
        assert processes is ALONE
        assert not torch.distributed.is_initialized()


def test_torchrun_says_which_process_this_is() -> None:
    processes = read_processes(TORCHRUN)
    assert processes == Processes(count=4, rank=3, local_rank=1)
    assert not processes.is_first
    assert read_processes({**TORCHRUN, "RANK": "0"}).is_first


@pytest.mark.parametrize("name", sorted(set(TORCHRUN) - {"WORLD_SIZE"}))
def test_half_an_environment_is_one_line(name: str) -> None:
    environment = {key: value for key, value in TORCHRUN.items() if key != name}
    with pytest.raises(FakescanError, match=f"{name} is not: start several .* with torchrun"):
        read_processes(environment)


def test_ranks_that_are_no_numbers_are_one_line() -> None:
    with pytest.raises(FakescanError, match="are whole numbers"):
        read_processes({**TORCHRUN, "RANK": "first"})


# Shares


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shares_are_equal_and_make_the_batch(count: int) -> None:
    batch = list(range(12))
    shares = [batch[Processes(count, rank).share_of(12)] for rank in range(count)]
    assert [number for share in shares for number in share] == batch
    assert {len(share) for share in shares} == {12 // count}


@pytest.mark.parametrize(("count", "pictures"), [(2, 9), (3, 8), (8, 0)])
def test_a_batch_that_cannot_be_shared_is_one_line(count: int, pictures: int) -> None:
    message = f"--batch-size: {count} processes can't share {pictures} pictures"
    with pytest.raises(FakescanError, match=message):
        Processes(count).share_of(pictures)


# Devices


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two GPUs, as far as counting them goes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(processes_module, "pick_device", torch.device)


@pytest.mark.parametrize("name", ["auto", "cuda"])
@pytest.mark.usefixtures("two_gpus")
def test_every_process_has_a_gpu_of_its_own(name: str) -> None:
    devices = [Processes(4, 2 + rank, rank).pick_device(name) for rank in range(2)]
    assert devices == [torch.device("cuda:0"), torch.device("cuda:1")]
    with pytest.raises(FakescanError, match="needs a GPU of its own; found 2"):
        Processes(3, 2, 2).pick_device(name)
    assert Processes(2, 1, 1).pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:1", "mps"])
@pytest.mark.usefixtures("two_gpus")
def test_several_processes_cannot_have_one_device(name: str) -> None:
    with pytest.raises(FakescanError, match="several processes train on cuda or on cpu"):
        Processes(2).pick_device(name)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_on_gpus_batches_are_normalised_over_all_shares(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def wrap(network: nn.Module, **options: Any) -> nn.Module:
        given.update(options)
        return nn.Sequential(network)

    monkeypatch.setattr(processes_module, "DistributedDataParallel", wrap)
    network = build_network(Architecture("cnn", {"filters": 4, "layers": 1, "dense": (8,)}))
    parameters, names = list(network.parameters()), list(network.state_dict())
    joined = Processes(2).join(network, torch.device(device))
    on_gpu = device != "cpu"
    assert given == ({"device_ids": [1]} if on_gpu else {})
    norms = [module for module in joined.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(norms) == (1 if on_gpu else 0)
    # The optimiser's and the checkpoint's remain what they were.
    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))
    assert list(network.state_dict()) == names
    assert ALONE.join(network, torch.device(device)) is network


def test_interruptions_that_wait_can_be_seen() -> None:
    with pytest.raises(KeyboardInterrupt), hold_interruptions() as held:
        assert not held
        os.kill(os.getpid(), signal.SIGINT)
        assert held == [signal.SIGINT]


def test_other_requests_to_end_wait_too_and_are_sent_anew() -> None:
    got: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), hold_interruptions() as held:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (held, got) == ([signal.SIGTERM], [])
        assert got == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_a_batch_size_is_refused_before_data_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        processes_module, "join_processes", lambda device: nullcontext(Processes(2))
    )
    outcome = run("train", "--data", "gone", "--batch-size", "9")
    assert outcome.code == 2
    assert outcome.stderr == "fakescan: --batch-size: 2 processes can't share 9 pictures equally\n"


def test_a_set_smaller_than_its_batch_is_refused_where_it_cannot_be_shared(
    made_set: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Processes, "join", lambda self, network, device: network)
    options = run_options(made_set, tmp_path, batch_size=70)
    material = read_material(made_set, options, torch.device("cpu"))
    with pytest.raises(FakescanError, match="7 processes can't share 24 pictures equally"):
        train_on(material, options, Processes(7))


# How several end


@dataclass
class FakeStore:
    """What processes share through torchrun, of which others may have ended before."""

    ended: int = 0
    waited: bool = False

    def add(self, key: str, amount: int) -> int:
        self.ended += amount
        return self.ended

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        self.waited = True


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeStore]:
    """Be one of two processes, as far as this one can tell."""

    def be(rank: int, ended: int = 0) -> FakeStore:
        store = FakeStore(ended)
        for name, value in {**TORCHRUN, "WORLD_SIZE": "2", "RANK": str(rank)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(processes_module, "rendezvous", lambda url: iter([(store, rank, 2)]))
        monkeypatch.setattr(processes_module, "_connect", lambda *arguments: None)
        return store

    return be


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("error", [FakescanError("no data"), RuntimeError("connection lost")])
def test_only_the_first_to_fail_says_why(
    connect: Callable[..., FakeStore], rank: int, error: Exception
) -> None:
    connect(rank)
    with pytest.raises(type(error)), join_processes("cpu"):
        raise error
    connect(rank, ended=1)
    with pytest.raises(SystemExit) as silent, join_processes("cpu"):
        raise error
    assert silent.value.code == 2


def test_all_wait_until_the_first_has_saved(connect: Callable[..., FakeStore]) -> None:
    store = connect(0)
    with pytest.raises(KeyboardInterrupt), join_processes("cpu"):
        os.kill(os.getpid(), signal.SIGINT)
    assert store.ended == 1 and not store.waited
    store = connect(1)
    with pytest.raises(SystemExit) as silent, join_processes("cpu"):
        with hold_interruptions() as held:
            os.kill(os.getpid(), signal.SIGINT)
        # To stop while the first one takes another step would leave it waiting.
        assert not held
        raise KeyboardInterrupt
    assert silent.value.code == 130
    assert store.waited
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Two processes


@dataclass(frozen=True)
class Ended:
    """What a run under torchrun left behind. Its own warnings and reports stand in `stderr`."""

    code: int
    stdout: str
    stderr: str


Start = Callable[..., "subprocess.Popen[str]"]

_PATIENCE = 240


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start processes that talk over loopback alone, and are ended with the test."""
    started: list[subprocess.Popen[str]] = []
    loopback = "lo" if sys.platform == "linux" else "lo0"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": loopback}

    def start_one(*arguments: str | Path, processes: int = 2) -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        launcher += ["--nproc-per-node", str(processes)]
        process = subprocess.Popen(
            [sys.executable, *(launcher if processes > 1 else []), *map(os.fspath, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.terminate()  # which torchrun passes on
        process.communicate(timeout=60)


def end(process: subprocess.Popen[str]) -> Ended:
    stdout, stderr = process.communicate(timeout=_PATIENCE)
    return Ended(process.returncode, stdout, stderr)


def train_arguments(data: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return (
        *("train", "--arch", "cnn", "--filters", "4", "--dense", "8", "--device", "cpu"),
        *("--data", data, "--output", "runs", "--name", "run"),
        *("--batch-size", "8", "--validation-fraction", "0.25", *more),
    )


RUN_FILES = {"checkpoint.pt", "curves.png", "metrics.jsonl", "run.json", "run.safetensors"}

WITHOUT_NORMS = """
import torch

import fakescan.training.loop
from fakescan.cli import main

torch.nn.BatchNorm2d = lambda width: torch.nn.Identity()
fakescan.training.loop.pick_precision = lambda device: "fp32"
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_processes_make_what_one_makes(
    made_set: Path,  # noqa: F811
    tmp_path: Path,
    start: Start,
    optimizer: str,
) -> None:
    script = tmp_path / "without_norms.py"
    script.write_text(WITHOUT_NORMS)
    flags = ("--optimizer", optimizer, "--epochs", "4", "--rotation", "10", "--degrade")
    for name, count in (("one", 1), ("two", 2)):
        ended = end(
            start(script, *train_arguments(made_set, *flags, "--output", name), processes=count)
        )
        assert ended.code == 0, ended.stderr
    states = [torch.load(tmp_path / name / "run/checkpoint.pt") for name in ("one", "two")]
    assert states[0]["step"] == states[1]["step"] == 12
    begun = build_network(Architecture("cnn", {"filters": 4, "layers": 2, "dense": (8,)}))
    for part in ("network", "average"):
        for key, one in states[0][part].items():
            # Sums of eight in another order: float32 has 1e-7, twelve steps some times that.
            assert torch.allclose(states[1][part][key], one, rtol=1e-4, atol=2e-6), (part, key)
    assert begun.state_dict().keys() > states[0]["network"].keys()
    rows = [
        [json.loads(line) for line in (tmp_path / name / "run/metrics.jsonl").open()]
        for name in ("one", "two")
    ]
    for key in ("training_loss", "validation_loss", "learning_rate"):
        one, two = ([row[key] for row in found] for found in rows)
        assert two == pytest.approx(one, rel=1e-5)
    cards = [load_card(tmp_path / name / "run/run.safetensors") for name in ("one", "two")]
    assert [card.training["processes"] for card in cards] == [1, 2]


def pid_of_rank(launcher: int, rank: int) -> int:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    variable = f"RANK={rank}".encode()
    return next(
        int(child)
        for child in children
        if variable in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    )


def wait_for_epoch(process: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not (folder / "metrics.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
def test_a_run_whose_process_was_killed_goes_on(
    made_set: Path,  # noqa: F811
    tmp_path: Path,
    start: Start,
) -> None:
    arguments = ("-m", "fakescan", *train_arguments(made_set, "--epochs", "60"))
    unbroken = end(start(*arguments, "--output", "unbroken"))
    assert unbroken.code == 0, unbroken.stderr
    assert unbroken.stdout.count("Use it:") == 1
    assert {path.name for path in (tmp_path / "unbroken/run").iterdir()} == RUN_FILES
    process = start(*arguments)
    wait_for_epoch(process, tmp_path / "runs/run")
    os.kill(pid_of_rank(process.pid, 1), signal.SIGKILL)
    killed = end(process)
    assert killed.code != 0 and "Use it:" not in killed.stdout
    assert not (tmp_path / "runs/run/run.safetensors").exists()
    resumed = end(start(*arguments, "--resume"))
    assert resumed.code == 0, resumed.stderr
    # An interrupted write may have left its beginning.
    files = {path.name for path in (tmp_path / "runs/run").iterdir()} - {"checkpoint.tmp"}
    assert files == RUN_FILES
    rows = (tmp_path / "runs/run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == list(range(1, 61))
    one = load_tensors(tmp_path / "unbroken/run/run.safetensors")
    other = load_tensors(tmp_path / "runs/run/run.safetensors")
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.slow
def test_an_interruption_ends_all_and_loses_nothing(
    made_set: Path,  # noqa: F811
    tmp_path: Path,
    start: Start,
) -> None:
    process = start("-m", "fakescan", *train_arguments(made_set, "--epochs", "5000"))
    wait_for_epoch(process, tmp_path / "runs/run")
    process.send_signal(signal.SIGINT)
    ended = end(process)
    assert ended.code != 0
    assert ended.stderr.count("--resume goes on from here") == 1
    saved = torch.load(tmp_path / "runs/run/checkpoint.pt")
    assert saved["step"] >= 3 * len(saved["rows"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--batch-size", "9"), "--batch-size: 2 processes can't share 9 pictures equally"),
        (("--learning-rate", "inf"), "the loss is nan at step 1: training stopped"),
    ],
)
def test_a_mistake_is_said_once(
    made_set: Path,  # noqa: F811
    tmp_path: Path,
    start: Start,
    flags: tuple[str, ...],
    line: str,
) -> None:
    ended = end(start("-m", "fakescan", *train_arguments(made_set, *flags)))
    assert ended.code != 0
    lines = [row for row in ended.stderr.splitlines() if row.startswith("fakescan: ")]
    assert len(lines) == 1 and lines[0].startswith(f"fakescan: {line}"), ended.stderr


@pytest.mark.slow
def test_networks_of_all_folds_and_a_time_limit(
    photo_folder: Path,  # noqa: F811
    tmp_path: Path,
    start: Start,
) -> None:
    ended = end(
        start(
            *("-m", "fakescan", "train", "--arch", "photo", "--channels", "8", "--size", "128"),
            *("--max-minutes", "0.06", "--batch-size", "8", "--device", "cpu"),
            *("--data", photo_folder),
        )
    )
    assert ended.code == 0, ended.stderr
    assert ended.stdout.count("Use it:") == 1
    weights = tmp_path / "runs/photo/photo.safetensors"
    card = load_card(weights)
    assert set(card.metrics) == {f"out_of_fold_{name}" for name in CONDITIONS}
    assert card.training["processes"] == 2
    # A quarter of the time for each network, and far from all of its 20 epochs.
    seconds = torch.load(weights.with_name("checkpoint.pt"))["seconds"]
    assert 0.06 * 60 / 4 <= seconds < 60
    assert card.training["epochs"] < 20
    assert all(fold_weights(weights.parent, fold).exists() for fold in range(FOLDS))
