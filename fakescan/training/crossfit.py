"""Photographs: a network for each fold of sources, and one on all, calibrated by the others.

The network that ships has seen every source, so nothing is left to tell how well it does on new
ones. Those of the folds, made by the same recipe, have not seen what their fold holds back: their
scores there calibrate it (cross-fitting, as in Platt 1999, section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fakescan.backends import BackendName
from fakescan.gates import PHOTO_GATES
from fakescan.records import FakescanError
from fakescan.training.calibrate import LEAST
from fakescan.training.folds import FOLDS, fold_weights
from fakescan.training.judges import load_judge, seat_by_fold
from fakescan.training.loop import TrainingResult, train_on
from fakescan.training.material import HeldOut, held_back, photo_material
from fakescan.training.options import TrainingOptions
from fakescan.training.photos import Photos
from fakescan.training.processes import ALONE, Processes
from fakescan.training.recompression import CLEAN, DEGRADATIONS

CONDITIONS = (CLEAN, "jpeg-70", "half-jpeg-75", "screenshot", "blur")
"""In each of these that leaves enough to judge the thresholds keep their promise."""

_CALIBRATING = (CLEAN, "jpeg-70", "half-jpeg-75")
"""Scores are probabilities here. Blur and screenshots lower them: AI is missed, nobody accused."""


def train_photo(
    photos: Photos, options: TrainingOptions, processes: Processes = ALONE
) -> TrainingResult | None:
    """Train on `photos` the network of each fold, then the one on all; see `loop.train_on`.

    With `options.fold` only that fold's. The folds' lie in the folder of the run. `max_minutes`
    are for all of them together, in equal parts. `resume` keeps what is finished.
    """
    device = processes.pick_device(options.device)
    if options.fold is not None:
        return train_on(photo_material(photos, options, device), options, processes)
    options = replace(options, name=options.name or options.architecture.name)
    if options.max_minutes is not None:
        options = replace(options, max_minutes=options.max_minutes / (FOLDS + 1))
    assert options.name is not None
    folder = options.output / options.name
    networks = []
    for fold in range(FOLDS):
        part = replace(options, output=folder, name=f"fold-{fold}", fold=fold)
        weights = fold_weights(folder, fold)
        if not (options.resume and weights.exists()):
            train_on(photo_material(photos, part, device), part, processes)
        networks.append(weights)
    held_out: Mapping[str, HeldOut] = {}
    if processes.is_first:
        held_out = judge_out_of_fold(photos, networks, options.device)
    processes.wait_for_first()
    return train_on(photo_material(photos, options, device, held_out), options, processes)


def judge_out_of_fold(photos: Photos, networks: list[Path], device: str) -> Mapping[str, HeldOut]:
    """By condition, logits of the pictures that folds hold back, by the networks of those folds.

    What the gates refuse a scan wouldn't judge either: it is left out, in each condition anew.
    Raises FakescanError where they leave no class of what is clean.
    """
    judges = [load_judge(path, backend=BackendName.TORCH, device=device) for path in networks]
    panel = seat_by_fold(tuple(judges), photos.folds)
    places = np.concatenate([held_back(photos, fold) for fold in range(FOLDS)])
    labels = photos.pictures.labels[places]
    found = {}
    for name in CONDITIONS:
        degrade = DEGRADATIONS[name]
        judged = panel.judge(photos.pictures.pixels, places, degrade, PHOTO_GATES, name)
        if judged is not None:
            logits, refusals = judged
            passed = np.array([reason is None for reason in refusals])
            left = int(np.bincount(labels[passed], minlength=2).min())
            if name == CLEAN and not left:
                raise FakescanError("the gates refuse all held-back pictures of a class")
            if name == CLEAN or left >= LEAST:
                found[f"out_of_fold_{name}"] = HeldOut(
                    logits[passed], labels[passed], name in _CALIBRATING
                )
    return found
