"""A published model on this disk: its files, and the card made of what they say."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fakescan.hub.labels import find_ai_labels
from fakescan.processing import (
    processed_sides,
    quiet_transformers,
    require_library,
    timm_processor,
    transformers_processor,
)
from fakescan.records import FakescanError
from fakescan.weights import (
    Architecture,
    Domain,
    Input,
    Labels,
    Library,
    ModelCard,
    file_sha256,
    find_user_card,
    prefer_user_card,
)

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# Smaller than any picture that detectors were published for; what was seen when it is calibrated
# takes its place.
_DOMAIN = Domain(16, None, "any picture: nobody has measured it here")
_LIMITS = (
    "Made by others; what it was trained and measured on stands on its authors' own card.",
    "It resizes and cuts pictures as its authors' settings say.",
)


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A network of transformers or timm: its safetensors, and its config.json where it has one."""

    card: ModelCard
    files: tuple[Path, ...]
    config: Path | None


def read_folder(
    folder: Path,
    name: str,
    version: str,
    ai_labels: Sequence[str],
    *,
    as_shipped: bool = False,
) -> PublishedModel:
    """The model in a folder of transformers' layout, or of timm's for the Hub.

    Raises FakescanError where files are missing or can't be used, and where its labels don't tell
    which means AI.
    """
    config = read_json(folder / CONFIG)
    files = find_weights(folder)
    if "architecture" in config:
        architecture, given, names = _describe_timm(
            str(config["architecture"]), _timm_config(config), str(folder)
        )
    else:
        architecture, given, names = _describe_transformers(folder, config)
    return _with_card(
        PublishedModel(
            _card(name, version, architecture, given, licence_of(folder)), files, folder / CONFIG
        ),
        *(names, ai_labels, as_shipped),
    )


def licence_of(folder: Path) -> str:
    """The licence that the README.md of a model names; empty where it names none."""
    readme = folder / "README.md"
    if not readme.is_file():
        return ""
    from huggingface_hub import ModelCard as TheirCard

    try:
        licence = TheirCard(readme.read_text("utf-8"), ignore_metadata_errors=True).data.license
    except (OSError, ValueError):
        return ""
    return licence if isinstance(licence, str) else ""


def read_timm(
    architecture: str, weights: Path, ai_labels: Sequence[str], *, as_shipped: bool = False
) -> PublishedModel:
    """timm's network `architecture` with these weights; a config.json beside them is not read.

    Raises FakescanError for an unknown network, and weights that aren't its own.
    """
    from safetensors import SafetensorError, safe_open

    if weights.suffix != ".safetensors" or not weights.is_file():
        raise FakescanError(f"--weights {weights}: there is no such .safetensors file")
    described, given, _ = _describe_timm(architecture, {}, f"timm:{architecture}")
    head = _classifier(architecture)
    try:
        with safe_open(weights, "pt") as tensors:
            keys = {key for key in tensors.keys() if key in {f"{one}.weight" for one in head}}  # noqa: SIM118
            counts = {tensors.get_slice(key).get_shape()[0] for key in keys}
    except (SafetensorError, OSError) as error:
        raise FakescanError(f"{weights}: not a safetensors file") from error
    if len(counts) != 1:
        raise FakescanError(f"{weights}: has no classifier of timm's {architecture}")
    (count,) = counts
    described = replace(described, options={**described.options, "num_classes": count})
    names = [f"LABEL_{place}" for place in range(count)]
    return _with_card(
        PublishedModel(_card(architecture, "local", described, given), (weights,), None),
        *(names, ai_labels, as_shipped),
    )


def find_weights(folder: Path) -> tuple[Path, ...]:
    """The safetensors of the model in `folder`, every shard, in the index's order by name.

    Raises FakescanError where there are none, or a shard is missing.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if not (folder / INDEX).is_file():
        raise FakescanError(
            f"{folder}: no {WEIGHTS} there; weights of other formats may run code when they are"
            " read, and are not"
        )
    shards = read_json(folder / INDEX).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    # A name that leads elsewhere is no shard of this model's.
    if not names or any(Path(name).name != name for name in names):
        raise FakescanError(f"{folder / INDEX}: names no shards")
    for name in names:
        if not (folder / name).is_file():
            raise FakescanError(f"{folder}: the shard {name} is missing; fetch the model again")
    return tuple(folder / name for name in names)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FakescanError where the file is missing, or none."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise FakescanError(
            f"{path.parent}: no {path.name} there, so it is no model of transformers or timm"
        ) from error
    except (OSError, ValueError) as error:
        raise FakescanError(f"{path}: can't be read as JSON") from error
    if not isinstance(document, dict):
        raise FakescanError(f"{path}: can't be read as JSON")
    return document


def weights_sha256(files: Sequence[Path]) -> str:
    """The SHA-256 of the one file, or that of the list of every shard's."""
    digests = [file_sha256(file) for file in files]
    return digests[0] if len(files) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _describe_transformers(
    folder: Path, config: dict[str, Any]
) -> tuple[Architecture, Input, list[str]]:
    require_library("transformers")
    from transformers import AutoConfig

    with quiet_transformers():
        try:
            known = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FakescanError(
                f"{folder / CONFIG}: transformers knows no such model, or only by code that comes"
                " with it, which is never run"
            ) from error
    names = [str(known.id2label[place]) for place in sorted(known.id2label)]
    settings = read_json(folder / PREPROCESSOR)
    given = _input(transformers_processor(settings, known.model_type), folder)
    # Of the rest, the weights' SHA-256 tells.
    options = {"model_type": known.model_type, "config_sha256": file_sha256(folder / CONFIG)}
    return Architecture(Library.TRANSFORMERS.value, options), given, names


def _describe_timm(
    name: str, config: dict[str, Any], place: str
) -> tuple[Architecture, Input, list[str]]:
    require_library("timm")
    import timm

    if not re.fullmatch(r"[\w.]+", name) or not timm.is_model(name.partition(".")[0]):
        raise FakescanError(f"{place}: timm has no network {name!r}")
    pretrained = config.get("pretrained_cfg") or _pretrained_cfg(name)
    # As of a model made with it: resolve_model_data_config reads nothing else of the model.
    data_config = timm.data.resolve_data_config({}, pretrained_cfg=pretrained)
    given = _input(timm_processor(data_config), Path(place))
    arguments = dict(config.get("model_args") or {})
    if not arguments.keys().isdisjoint(_NOT_OF_NETWORKS):
        raise FakescanError(f"{place}: its model_args ask for more than a network")
    if pool := config.get("global_pool"):
        arguments.setdefault("global_pool", pool)
    names = [str(label) for label in config.get("label_names") or pretrained.get("label_names", ())]
    count = len(names) or int(config.get("num_classes") or pretrained.get("num_classes") or 0)
    options = {"name": name, "num_classes": count, "arguments": arguments}
    return (
        Architecture(Library.TIMM.value, options),
        given,
        names or [f"LABEL_{number}" for number in range(count)],
    )


# What timm.create_model would fetch or unpickle weights by.
_NOT_OF_NETWORKS = {
    *("model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"),
    *("checkpoint_path", "cache_dir", "num_classes"),
}


def _timm_config(config: dict[str, Any]) -> dict[str, Any]:
    # Before 2023 timm wrote what is now `pretrained_cfg` at the top.
    old = {key: value for key, value in config.items() if key != "architecture"}
    return config if "pretrained_cfg" in config else {**config, "pretrained_cfg": old}


def _pretrained_cfg(name: str) -> dict[str, Any]:
    import timm

    try:
        found = timm.get_pretrained_cfg(name)
    except (RuntimeError, KeyError) as error:
        raise FakescanError(f"timm:{name}: timm has no such weights' settings") from error
    return {} if found is None else dict(found.to_dict())


def _classifier(architecture: str) -> tuple[str, ...]:
    head = _pretrained_cfg(architecture).get("classifier") or "head"
    return (head,) if isinstance(head, str) else tuple(head)


def _input(processor: dict[str, Any], place: Path) -> Input:
    try:
        sides = processed_sides(processor)
    except FakescanError as error:
        raise FakescanError(f"{place}: {error}") from error
    size = 0 if sides is None else sides[0]
    return Input(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), processor=processor)


def _card(
    name: str, version: str, architecture: Architecture, given: Input, licence: str = ""
) -> ModelCard:
    return ModelCard(
        name=name,
        version=version,
        sha256="",
        architecture=architecture,
        input=given,
        domain=_DOMAIN,
        pooling="mean",
        calibration=None,
        thresholds=None,
        license=licence,
        training={},
        metrics={},
        limits=_LIMITS,
    )


def _with_card(
    model: PublishedModel, names: list[str], ai_labels: Sequence[str], as_shipped: bool
) -> PublishedModel:
    """The model with SHA-256 and labels on its card, or with the user's own card."""
    if not names:
        raise FakescanError(f"{model.card.name}: its settings name no classes")
    card = replace(model.card, sha256=weights_sha256(model.files))
    labels = _known_labels(card, names)
    if labels is None or ai_labels:
        labels = find_ai_labels(names, ai_labels, card.name)
    card = replace(card, labels=labels)
    return replace(model, card=card if as_shipped else prefer_user_card(card))


def _known_labels(card: ModelCard, names: list[str]) -> Labels | None:
    """As the user named them when the same model was calibrated."""
    own = find_user_card(card.sha256)
    if own is None or own.labels is None or own.labels.names != tuple(names):
        return None
    return own.labels
