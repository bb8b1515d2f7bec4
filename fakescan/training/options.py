"""What a training run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fakescan.weights import Architecture


class Optimizer(StrEnum):
    """How gradients become steps; `sgd` has Nesterov's momentum of 0.9."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"


class Schedule(StrEnum):
    """How the learning rate goes: up and down, down only, or not at all."""

    ONE_CYCLE = "one-cycle"
    COSINE = "cosine"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """All that decides what `train` makes. The card keeps it.

    `max_minutes` shortens the schedule, not the run: learning rates fall with whichever of steps
    and minutes is further on, so that a slow machine still ends with an annealed model. It counts
    steps; what is measured besides comes on top. `fold` is the part of the sources that `photo`
    holds back for validation; without one it trains a network for each, and on their scores
    calibrates one that has seen all.

    `shift`, `flip`, `rotation`, `zoom` and `degrade` are `batches.Augmentation`'s, `mirror` and
    `enlarge` the card's `Input`'s. With `best_epoch` the weights are those of the epoch that was
    most accurate on validation, else the last's. `pretrained` is `imagenet` or a file of
    torchvision's weights, `init` a model of ours.
    """

    architecture: Architecture = field(default_factory=lambda: Architecture("resnet18"))
    data: Path | None = None
    output: Path = Path("runs")
    name: str | None = None
    size: int | None = None
    epochs: int = 20
    max_minutes: float | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    optimizer: Optimizer = Optimizer.ADAMW
    schedule: Schedule = Schedule.ONE_CYCLE
    warm_up: float = 0.1
    label_smoothing: float = 0.05
    ema_decay: float = 0.999
    shift: int = 2
    flip: bool = True
    rotation: float = 0.0
    zoom: float = 0.0
    degrade: bool = False
    mirror: bool = True
    enlarge: int | None = None
    best_epoch: bool = False
    validation_fraction: float = 0.05
    fold: int | None = None
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    init: str | None = None
    pretrained: str | None = None
