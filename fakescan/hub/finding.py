"""From what `--model` names to what can be loaded: our weights, or a published model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fakescan.hub.labels import has_ai_label
from fakescan.hub.published import PublishedModel, read_folder, read_timm
from fakescan.hub.repositories import fetch_repository
from fakescan.records import FakescanError
from fakescan.weights import default_models, find_models, locate

HUB_PREFIX, TIMM_PREFIX = "hf:", "timm:"

LocatedModel = Path | PublishedModel
"""Our own weights with their card beside them, or a published model."""


def locate_model(
    model: str,
    *,
    weights: Sequence[str] = (),
    ai_labels: Sequence[str] = (),
    as_shipped: bool = False,
) -> LocatedModel:
    """The one model that `--model` names; see `locate_models_named`."""
    (found,) = locate_models_named(
        (model,), weights=weights, ai_labels=ai_labels, as_shipped=as_shipped
    )
    return found


def locate_models_named(
    models: Sequence[str],
    *,
    weights: Sequence[str] = (),
    ai_labels: Sequence[str] = (),
    as_shipped: bool = False,
) -> tuple[LocatedModel, ...]:
    """The models of these names; without any, all that come along.

    A name is that of a model that comes along, a .safetensors file of ours, a folder in
    transformers' or timm's layout, hf:ORG/NAME, which is fetched where it isn't here yet, or
    timm:ARCH with its file among `weights`, in order. Published models get the user's card where
    there is one, unless asked for `as_shipped`.

    Raises FakescanError for a model that isn't there or can't be used, for weights too many or too
    few, and for a label that no published model among them has.
    """
    files = iter(weights)
    shipped = {path.stem for path in find_models()}
    if len(weights) != sum(model.startswith(TIMM_PREFIX) for model in models):
        raise FakescanError("--weights: one file for each --model timm:ARCH, and for no other")
    found: list[LocatedModel] = []
    for model in models:
        if model.startswith(HUB_PREFIX):
            name = model.removeprefix(HUB_PREFIX)
            folder, commit = fetch_repository(name)
            found.append(read_folder(folder, name, commit[:12], ai_labels, as_shipped=as_shipped))
        elif model.startswith(TIMM_PREFIX):
            architecture = model.removeprefix(TIMM_PREFIX)
            file = Path(next(files))
            found.append(read_timm(architecture, file, ai_labels, as_shipped=as_shipped))
        elif model not in shipped and os.path.isdir(model):
            folder = Path(model)
            name = folder.resolve().name
            found.append(read_folder(folder, name, "local", ai_labels, as_shipped=as_shipped))
        else:
            found.append(locate(model))
    _check_labels(found, ai_labels)
    return tuple(found) or default_models()


def _check_labels(found: Sequence[LocatedModel], ai_labels: Sequence[str]) -> None:
    known = [
        model.card.labels.names
        for model in found
        if isinstance(model, PublishedModel) and model.card.labels is not None
    ]
    for label in ai_labels:
        if not any(has_ai_label(names, label) for names in known):
            raise FakescanError(f"--ai-label {label}: no model named has such a class")
