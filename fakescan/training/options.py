"""What a training run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fakescan.weights import Architecture


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """All that decides what `train` makes. The card keeps it.

    `max_minutes` shortens the schedule, not the run: learning rates fall with whichever of steps
    and minutes is further on, so that a slow machine still ends with an annealed model. `fold` is
    the part of the sources that `photo` holds back for validation; without one it trains a network
    for each, and on their scores calibrates one that has seen all.
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
    warm_up: float = 0.1
    label_smoothing: float = 0.05
    ema_decay: float = 0.999
    shift: int = 2
    validation_fraction: float = 0.05
    fold: int | None = None
    seed: int = 0
    device: str = "auto"
    resume: bool = False
    init: str | None = None
