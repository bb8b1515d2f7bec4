"""Optimisers, and how their learning rates go."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from fakescan.training.options import Optimizer, Schedule, TrainingOptions

_MOMENTUM = 0.9
_FIRST_RATE = 0.05
"""Of a cycle, as a share of its highest."""


def make_optimizer(module: nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    """What `options` ask for, over those parameters of `module` that are trained."""
    groups, rate = _parameter_groups(module, options.weight_decay), options.learning_rate
    if options.optimizer is Optimizer.SGD:
        return torch.optim.SGD(groups, lr=rate, momentum=_MOMENTUM, nesterov=True)
    kind = torch.optim.Adam if options.optimizer is Optimizer.ADAM else torch.optim.AdamW
    return kind(groups, lr=rate, fused=True)


def learning_rate(options: TrainingOptions, done: float) -> float:
    """The rate at `done` in [0, 1] of the schedule."""
    if options.schedule is Schedule.CONSTANT:
        return options.learning_rate
    # One cycle (Smith & Topin 2019): up in a line, then down along a half cosine.
    warm_up = options.warm_up if options.schedule is Schedule.ONE_CYCLE else 0.0
    if done < warm_up:
        return options.learning_rate * (_FIRST_RATE + (1 - _FIRST_RATE) * done / warm_up)
    fall = (done - warm_up) / (1 - warm_up)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * fall))


def _parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    # Decay shrinks directions; a batch norm's gain and a bias have none (He et al. 2019).
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
