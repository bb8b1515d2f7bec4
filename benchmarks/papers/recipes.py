"""Published systems as recipes of our training: what stands in recipes/*.toml."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakescan.training.options import Optimizer, Schedule, TrainingOptions
from fakescan.weights import Architecture

RECIPES = Path(__file__).parent / "recipes"

FIGURES = ("accuracy", "precision", "recall", "f1", "auc")

# What decides where and how often a recipe runs is not a recipe's.
_OF_A_RUN = {"architecture", "data", "output", "name", "seed", "device", "resume", "max_minutes"}
_OPTIONS = {one.name for one in dataclasses.fields(TrainingOptions)} - _OF_A_RUN
_KEYS = {
    *("title", "source", "data", "differs", "variants", "reported", "architecture", "training"),
    *("record", "robustness", "not_run"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One published system: its figures, and our training that comes nearest.

    `reported` has figures in [0, 1], or the lowest and highest of several, and a `note`. `record`
    marks those that compete for a record of our own, `robustness` those that are also measured
    degraded and attacked. With `not_run` there is no training.
    """

    name: str
    title: str
    source: str
    differs: str
    reported: Mapping[str, Any]
    architecture: Architecture | None
    training: Mapping[str, Any] = field(default_factory=dict)
    data: str = "cifake"
    record: bool = False
    robustness: bool = False
    not_run: str | None = None

    @property
    def epochs(self) -> int:
        """How many the recipe asks for."""
        return int(self.training["epochs"])

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of all that decides what is trained."""
        assert self.architecture is not None
        decisive = [dataclasses.asdict(self.architecture), dict(self.training), self.data]
        text = json.dumps(decisive, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def options(self, **changes: Any) -> TrainingOptions:
        """The training that it asks for, and where and how often `changes` say."""
        assert self.architecture is not None
        training = dict(self.training)
        for key, kind in (("optimizer", Optimizer), ("schedule", Schedule)):
            if key in training:
                training[key] = kind(training[key])
        return TrainingOptions(architecture=self.architecture, **{**training, **changes})


def read_recipes(folder: Path = RECIPES) -> dict[str, Recipe]:
    """Every recipe by name: a file's, or those of its variants. Raises ValueError for bad ones."""
    found: dict[str, Recipe] = {}
    for path in sorted(folder.glob("*.toml")):
        for recipe in _read(path):
            if recipe.name in found:
                raise ValueError(f"{path}: there are two recipes {recipe.name}")
            found[recipe.name] = recipe
    return found


def _read(path: Path) -> list[Recipe]:
    document = tomllib.loads(path.read_text("utf-8"))
    if unknown := document.keys() - _KEYS:
        raise ValueError(f"{path}: unknown keys {sorted(unknown)}")
    if unknown := document.get("training", {}).keys() - _OPTIONS:
        raise ValueError(f"{path}: train has no options {sorted(unknown)}")
    variants = document.pop("variants", [{"name": path.stem}])
    return [_variant(document, dict(variant)) for variant in variants]


def _variant(document: Mapping[str, Any], variant: dict[str, Any]) -> Recipe:
    name = variant.pop("name")
    architecture = None
    if "architecture" in document:
        options = {**document["architecture"], **variant}
        architecture = Architecture(options.pop("name"), options)
    return Recipe(
        name=name,
        title=document["title"],
        source=document["source"],
        differs=document["differs"],
        reported=_reported(document["reported"]),
        architecture=architecture,
        training=document.get("training", {}),
        data=document.get("data", "cifake"),
        record=document.get("record", False),
        robustness=document.get("robustness", False),
        not_run=document.get("not_run"),
    )


def _reported(given: Mapping[str, Any]) -> dict[str, Any]:
    if "counts" not in given:
        return dict(given)
    tp, tn, fp, fn = (given["counts"][key] for key in ("tp", "tn", "fp", "fn"))
    return {
        **given,
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
    }
