"""Adversarial robustness: pictures changed by a few levels to be taken for the other class.

The attacks know the network (white box), and only what is learned of it: the photo network's
handcrafted statistics and its trees give no gradient, so that the way to the logit leads through
the learned features and the linear layer alone. An attack that went round that may do worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows)
from torch import Tensor

from fakescan.model import Detector
from fakescan.training.data import AI, REAL
from fakescan.training.evaluate import area_under_curve

if TYPE_CHECKING:
    import numpy.typing as npt

    from fakescan.records import UInt8Array

    BoolArray = npt.NDArray[np.bool_]
    CallArray = npt.NDArray[np.int8]
    FloatArray = npt.NDArray[np.float64]
    LabelArray = npt.NDArray[np.uint8]
    IndexArray = npt.NDArray[np.int64]
    SeatArray = npt.NDArray[np.int64]

EPSILONS = (1, 2, 4)
"""How far any value may move, in levels of 255."""

_STEPS = 10
_STEPS_PER_EPSILON = 4
_BATCH = 32


class Method(StrEnum):
    """Fast gradient sign (Goodfellow et al. 2015), projected gradient (Madry et al. 2018)."""

    FGSM = "fgsm"
    PGD = "pgd"


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """What is left under one attack, AI attacked towards real and real towards AI.

    `recall` and `false_positive_rate` are at the judges' thresholds for `ai`, None without. The
    first row, of no method and no epsilon, is of the same windows as they were.
    """

    method: Method | None
    epsilon: int
    n: int
    auc: float
    recall: float | None
    false_positive_rate: float | None


def attack_windows(
    detector: Detector,
    windows: UInt8Array,
    labels: LabelArray,
    method: Method,
    epsilon: int,
    seed: int = 0,
) -> UInt8Array:
    """Windows (N, S, S, 3) each moved by at most `epsilon` levels away from its label (N,).

    Whole values in [0, 255], as a picture could be stored.
    """
    device = detector.scale.device
    generator = torch.Generator(device="cpu").manual_seed(seed)
    attack = _ATTACKS[method]
    attacked = []
    for start in range(0, len(windows), _BATCH):
        crops = torch.from_numpy(windows[start : start + _BATCH]).to(device).float()
        targets = torch.from_numpy(labels[start : start + _BATCH] == AI).to(device).float()
        moved = attack(detector, crops, targets, epsilon, generator)
        # From whole values no rounding leads further than epsilon away.
        attacked.append(moved.round().clamp(0, 255).to(torch.uint8).cpu().numpy())
    return np.concatenate(attacked)


def draw_evenly(labels: LabelArray, may_be_drawn: BoolArray, count: int, seed: int) -> IndexArray:
    """Places of about `count` of labels (N,), drawn by `seed`, half of each class, AI first."""
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in (AI, REAL):
        own = np.flatnonzero((labels == label) & may_be_drawn)
        most = min(len(own), max(1, count // 2))
        chosen += sorted(generator.choice(own, most, replace=False).tolist())
    return np.array(chosen)


def measure_attacks(
    detectors: Sequence[Detector],
    seats: SeatArray,
    windows: UInt8Array,
    labels: LabelArray,
    call: Callable[[FloatArray], CallArray | None],
    seed: int = 0,
) -> tuple[AttackFigures, ...]:
    """Attack windows (N, S, S, 3) through the detectors in whose `seats` (N,) they are.

    `call` says of logits (N,) what `calibration.calls_of` says of scores. Raises ValueError where
    a class is missing.
    """
    if set(labels.tolist()) != {AI, REAL}:
        raise ValueError("attacks need both classes")

    def judge(method: Method | None, epsilon: int) -> AttackFigures:
        logits = np.empty(len(windows))
        for seat in np.unique(seats):
            own = seats == seat
            shown = windows[own]
            if method is not None:
                shown = attack_windows(detectors[seat], shown, labels[own], method, epsilon, seed)
            logits[own] = exact_logits(detectors[seat], shown)
        calls = call(logits)
        called = None if calls is None else calls == 1
        return AttackFigures(
            method=method,
            epsilon=epsilon,
            n=len(windows),
            auc=area_under_curve(logits, labels),
            recall=None if called is None else float(called[labels == AI].mean()),
            false_positive_rate=None if called is None else float(called[labels == REAL].mean()),
        )

    rows = [judge(None, 0)]
    rows += [judge(method, epsilon) for method in Method for epsilon in EPSILONS]
    return tuple(rows)


def _fast_gradient_sign(
    detector: Detector, crops: Tensor, targets: Tensor, epsilon: int, _: torch.Generator
) -> Tensor:
    return crops + epsilon * _uphill(detector, crops, targets)


def _projected_gradient(
    detector: Detector, crops: Tensor, targets: Tensor, epsilon: int, generator: torch.Generator
) -> Tensor:
    start = torch.rand(crops.shape, generator=generator).to(crops.device)
    moved = (crops + epsilon * (2 * start - 1)).clamp(0, 255)
    for _ in range(_STEPS):
        moved = moved + epsilon / _STEPS_PER_EPSILON * _uphill(detector, moved, targets)
        moved = (crops + (moved - crops).clamp(-epsilon, epsilon)).clamp(0, 255)
    return moved


_Attack = Callable[[Detector, Tensor, Tensor, int, torch.Generator], Tensor]

_ATTACKS: dict[Method, _Attack] = {
    Method.FGSM: _fast_gradient_sign,
    Method.PGD: _projected_gradient,
}


def _uphill(detector: Detector, crops: Tensor, targets: Tensor) -> Tensor:
    """The direction, -1, 0 or 1 for each value, in which the loss grows."""
    crops = crops.detach().requires_grad_()
    # A sum: one window's loss is no matter of another's.
    loss = F.binary_cross_entropy_with_logits(detector(crops), targets, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, crops)
    return gradient.sign()


@torch.no_grad()
def exact_logits(detector: Detector, windows: UInt8Array) -> npt.NDArray[np.float32]:
    """Logits (N,) of windows (N, S, S, 3) in torch, in small batches."""
    device = detector.scale.device
    parts = [
        detector(torch.from_numpy(windows[start : start + _BATCH]).to(device)).float().cpu()
        for start in range(0, len(windows), _BATCH)
    ]
    logits: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return logits
