"""Photographs: a network for each fold of sources, and one on all, calibrated by the others.

The network that ships has seen every source, so nothing is left to tell how well it does on new
ones. Those of the folds, made by the same recipe, have not seen what their fold holds back: their
scores there calibrate it (cross-fitting, as in Platt 1999, section 2.1). Each fold's own network
is calibrated by the other folds, so that its pictures measure it and have chosen nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from fakescan.backends import BackendName
from fakescan.gates import PHOTO_GATES
from fakescan.records import FakescanError
from fakescan.training.calibrate import LEAST
from fakescan.training.checkpoint import (
    decisive,
    refuse_checkpoint,
    refuse_other_options,
    refuse_other_pictures,
)
from fakescan.training.data import AI, REAL, digest_pictures
from fakescan.training.evaluate import Metrics
from fakescan.training.folds import FOLDS, fold_weights
from fakescan.training.held_out import HeldOut, calibrate_by, measure_held_out, pool
from fakescan.training.judges import load_judge, seat_one
from fakescan.training.loop import TrainingResult, train_on
from fakescan.training.material import (
    IGNORED,
    PHOTO_WINDOW,
    held_back,
    part,
    photo_material,
)
from fakescan.training.options import TrainingOptions
from fakescan.training.photos import Kind, Photos, list_sources
from fakescan.training.processes import ALONE, Processes
from fakescan.training.recompression import CLEAN, DEGRADATIONS
from fakescan.weights import read_card, save_card

_NETWORKS = FOLDS + 1

CONDITIONS = (CLEAN, "jpeg-70", "half-jpeg-75", "screenshot", "blur")
"""In each of these that leaves enough to judge the thresholds keep their promise."""

_CALIBRATING = (CLEAN, "jpeg-70", "half-jpeg-75")
"""Scores are probabilities here. Blur and screenshots lower them: AI is missed, nobody accused."""


def train_photo(
    photos: Photos, options: TrainingOptions, processes: Processes = ALONE
) -> TrainingResult | None:
    """Train on `photos` the network of each fold, then the one on all; see `loop.train_on`.

    With `options.fold` only that fold's. The folds' lie in the folder of the run. `max_minutes`
    are for all of them together, in equal parts. `resume` keeps what is finished. Raises
    FakescanError for a fold that is none, where one would hold back no picture of a class, for
    `init` where a fold is yet to be trained, and for kept networks of another run.
    """
    device = processes.pick_device(options.device)
    _check_folds(photos, range(FOLDS) if options.fold is None else (options.fold,))
    if options.fold is not None:
        return train_on(photo_material(photos, options, device), options, processes)
    options = replace(options, name=options.name or options.architecture.name)
    assert options.name is not None
    folder = options.output / options.name
    refuse_checkpoint(folder, options)
    networks = [fold_weights(folder, fold) for fold in range(FOLDS)]
    # The card is written last: where it is, the fold is finished.
    kept = [options.resume and path.with_suffix(".json").exists() for path in networks]
    if options.init is not None and not all(kept):
        raise FakescanError(
            "--init: what a fold holds back would be judged by weights that may have seen it; train"
            " each with --fold and --init of its own, or leave it out"
        )
    for fold, weights in enumerate(networks):
        if kept[fold]:
            _check_kept(weights, photos, fold, options)
            continue
        own = replace(options, output=folder, name=f"fold-{fold}", fold=fold)
        if options.max_minutes is not None:
            own = replace(own, max_minutes=options.max_minutes / _NETWORKS)
        train_on(photo_material(photos, own, device), own, processes)
    held_out: Mapping[str, HeldOut] = {}
    if processes.is_first:
        judged = judge_out_of_fold(photos, networks, options.device)
        held_out = pool_folds(judged)
        if _out_of_fold(CLEAN) not in held_out:
            raise FakescanError("the gates refuse all held-back pictures of a class")
        for fold, weights in enumerate(networks):
            calibrate_by_others(weights, judged, fold)
    processes.wait_for_first()
    material = photo_material(photos, options, device, held_out)
    return train_on(replace(material, share=1 / _NETWORKS), options, processes)


def _check_folds(photos: Photos, folds: Iterable[int]) -> None:
    for fold in folds:
        if fold >= FOLDS:
            raise FakescanError(f"--fold {fold}: there are folds 0 to {FOLDS - 1}")
        labels = photos.pictures.labels[held_back(photos, fold)]
        for kind, label in ((Kind.AI, AI), (Kind.REAL, REAL)):
            if label not in labels:
                sources = {origin.source for origin in photos.origins if origin.kind == kind}
                raise FakescanError(
                    f"fold {fold} holds back no {kind} picture; {kind} has {len(sources)} sources,"
                    f" and validation by source takes one in each of {FOLDS} folds, which share no"
                    " generator or collection"
                )


def _check_kept(weights: Path, photos: Photos, fold: int, options: TrainingOptions) -> None:
    card = read_card(weights.with_suffix(".json"))
    training, validation = part(photos, fold)
    found = (card.architecture, card.input.size, card.training.get("sources"))
    wanted = (options.architecture, options.size or PHOTO_WINDOW, list_sources(training.origins))
    if found != wanted:
        raise FakescanError(
            f"{weights}: of another run, or of other pictures; --name begins another run"
        )
    kept = card.training.get("options")
    if kept is not None:
        asked, known = asdict(replace(options, fold=fold)), IGNORED | {"size"}
        refuse_other_options(weights, decisive(kept, known), decisive(asked, known))
    before = card.training.get("pictures_sha256")
    refuse_other_pictures(weights, before, digest_pictures(training.pictures, validation))


def judge_out_of_fold(
    photos: Photos, networks: Sequence[Path], device: str
) -> tuple[Mapping[str, HeldOut], ...]:
    """For each fold, by condition, what its network says of the pictures that it holds back.

    What the gates refuse a scan wouldn't judge either: it is left out, in each condition anew.
    """
    found = []
    for fold, path in enumerate(networks):
        judge = load_judge(path, backend=BackendName.TORCH, device=device)
        panel = seat_one(judge, len(photos.origins))
        places = held_back(photos, fold)
        labels = photos.pictures.labels[places]
        held_out = {}
        for name in CONDITIONS:
            degrade = DEGRADATIONS[name]
            judged = panel.judge(photos.pictures.pixels, places, degrade, PHOTO_GATES, name)
            if judged is not None:
                logits, refusals = judged
                passed = np.array([reason is None for reason in refusals])
                held_out[_out_of_fold(name)] = HeldOut(
                    logits[passed], labels[passed], name in _CALIBRATING
                )
        found.append(held_out)
    return tuple(found)


def pool_folds(judged: Sequence[Mapping[str, HeldOut]]) -> dict[str, HeldOut]:
    """By condition, what is held out of all folds in `judged`.

    A condition of which the gates leave fewer than `LEAST` of a class binds nothing and is left
    out; what is clean, only where they leave none.
    """
    pooled = {}
    for name in map(_out_of_fold, CONDITIONS):
        parts = [held_out[name] for held_out in judged if name in held_out]
        if parts:
            together = pool(parts)
            if together.least >= (1 if name == _out_of_fold(CLEAN) else LEAST):
                pooled[name] = together
    return pooled


def calibrate_by_others(weights: Path, judged: Sequence[Mapping[str, HeldOut]], fold: int) -> None:
    """Write on the card of a fold's network what the other folds' pictures say it should.

    So nothing on it was chosen by the pictures that its fold holds back, whose figures it tells.
    """
    others = pool_folds([*judged[:fold], *judged[fold + 1 :]])
    card = read_card(weights.with_suffix(".json"))
    calibration = thresholds = None
    figures: Mapping[str, Metrics] = {}
    if _out_of_fold(CLEAN) in others:
        calibration, thresholds = calibrate_by(others)
        own = {name: one for name, one in judged[fold].items() if one.least}
        figures = measure_held_out(own, calibration)
    card = replace(
        card,
        calibration=calibration,
        thresholds=thresholds,
        metrics={name: asdict(metrics) for name, metrics in figures.items()},
    )
    save_card(weights, card)


def _out_of_fold(condition: str) -> str:
    # What a card calls figures of what folds hold back, in this condition.
    return f"out_of_fold_{condition}"
