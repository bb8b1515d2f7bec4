"""Model cards and weights: locate, verify, load. No torch at import."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from fakescan.records import FakescanError, Reason
from fakescan.sources.temporaries import replacing

if TYPE_CHECKING:
    from torch import Tensor

CARD_VERSION = 1

_PACKAGED = Path(__file__).parent / "_weights"
_CHECKOUT = Path(__file__).parent.parent / "weights"


class ArchitectureName(StrEnum):
    """The networks that model.py can build."""

    CNN = "cnn"
    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"
    DENSENET121 = "densenet121"
    VGG16_BN = "vgg16_bn"
    PHOTO = "photo"


class Library(StrEnum):
    """The libraries whose published networks can be run: their names as architectures."""

    TRANSFORMERS = "transformers"
    TIMM = "timm"


@dataclass(frozen=True, slots=True)
class Architecture:
    """Which network of model.py, and the options that its builder takes; or whose library's."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """What the network is fed: RGB crops of `size` pixels a side.

    `mean` and `std` are of channels in [0, 1]. With `mirror` the logit is the mean of the crop's
    and its mirror image's. With `enlarge` the network sees the crop at that side in pixels, by
    bilinear interpolation. Both are part of the network, so that every runtime does the same.
    `windows` is how many of a picture it is shown at most, where its thresholds hold for no more;
    None: as many as the scan is asked for.

    `processor` tells how a published model's own library prepares a whole upright picture, for
    processing.py; the network then takes float32 (3, `size`, …) as it is. None: native windows.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mirror: bool = False
    enlarge: int | None = None
    windows: int | None = None
    processor: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """The classes of a published network in the order of its outputs, and which mean AI.

    Its logit is the logarithm of the odds of all classes in `ai` against all others; that of a
    network with one output is the output itself, or its negative where `ai` is empty.
    """

    names: tuple[str, ...]
    ai: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """Which images the model may judge, by their sides in pixels, both ends included."""

    minimum_side: int
    maximum_side: int | None
    description: str

    def refuse(self, width: int, height: int) -> Reason | None:
        """Why an image of this size is not judged; None where it is."""
        if min(width, height) < self.minimum_side:
            return Reason.NO_MODEL_FOR_SIZE
        if self.maximum_side is not None and max(width, height) > self.maximum_side:
            return Reason.NO_MODEL_FOR_SIZE
        return None

    def covers(self, other: Domain) -> bool:
        """Whether this model may judge every image that one of domain `other` may."""
        if other.minimum_side < self.minimum_side:
            return False
        if self.maximum_side is None:
            return True
        return other.maximum_side is not None and other.maximum_side <= self.maximum_side


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling: probability = sigmoid(slope * logit + intercept), fitted on `n` images."""

    slope: float
    intercept: float
    n: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """At this score at most `rate` of `n` validation images were called wrong."""

    rate: float
    score: float
    n: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`ai`: for each false-positive rate on photographs the score from which on `ai` is said.

    `real`: the score up to which `real` is said, with the rate of validation AI at or below it.
    """

    ai: tuple[Threshold, ...]
    real: Threshold


@dataclass(frozen=True, slots=True)
class Gates:
    """Limits of the measures in gates.py, beyond which the model abstains; both ends included.

    All but the blocking, which is 1 and more, are shares or ratios in [0, 1].
    """

    minimum_textured_share: float
    minimum_sharpness: float
    maximum_blocking: float
    maximum_paper_share: float
    maximum_drawn_share: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What stands beside every weights file: how to run it, how to read it, where it fails."""

    name: str
    version: str
    sha256: str
    architecture: Architecture
    input: Input
    domain: Domain
    pooling: str
    calibration: Calibration | None
    thresholds: Thresholds | None
    license: str
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    limits: tuple[str, ...]
    gates: Gates | None = None
    labels: Labels | None = None

    def to_json(self) -> str:
        """The card as it is written beside the weights."""
        document = {"card_version": CARD_VERSION, **dataclasses.asdict(self)}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read_card(path: Path) -> ModelCard:
    """Read a model card. Raises FakescanError where it is none, or of a newer kind."""
    try:
        document = json.loads(path.read_text("utf-8"))
        if document.pop("card_version") != CARD_VERSION:
            raise FakescanError(f"{path}: this card needs a newer fakescan")
        return _card(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FakescanError(f"{path}: not a model card ({error!r})") from error


def _card(document: dict[str, Any]) -> ModelCard:
    calibration, thresholds = document["calibration"], document["thresholds"]
    # Cards written before there were any have no such keys.
    gates, labels = document.get("gates"), document.get("labels")
    given = document["input"]
    return ModelCard(
        name=document["name"],
        version=document["version"],
        sha256=document["sha256"],
        architecture=Architecture(**document["architecture"]),
        input=Input(
            size=given["size"],
            mean=_triple(given["mean"]),
            std=_triple(given["std"]),
            mirror=given["mirror"],
            enlarge=given.get("enlarge"),  # cards written before there was any
            windows=given.get("windows"),
            processor=given.get("processor"),
        ),
        domain=Domain(**document["domain"]),
        pooling=document["pooling"],
        calibration=calibration and Calibration(**calibration),
        thresholds=thresholds
        and Thresholds(
            ai=tuple(Threshold(**row) for row in thresholds["ai"]),
            real=Threshold(**thresholds["real"]),
        ),
        license=document["license"],
        training=document["training"],
        metrics=document["metrics"],
        limits=tuple(document["limits"]),
        gates=None if gates is None else Gates(**gates),
        labels=None if labels is None else Labels(tuple(labels["names"]), tuple(labels["ai"])),
    )


def _triple(values: list[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third


def weights_folder() -> Path:
    """Where the models that come along lie: `$FAKESCAN_WEIGHTS`, in the wheel, or in the clone."""
    if named := os.environ.get("FAKESCAN_WEIGHTS"):
        return Path(named)
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def find_models() -> tuple[Path, ...]:
    """The weights of every model that comes with the program, in the order in which they judge."""
    return tuple(sorted(weights_folder().glob("*.safetensors"), key=_judging_order))


def default_models() -> tuple[Path, ...]:
    """Of these the ones that a scan asks unless told: each judges what none before it does."""
    chosen: list[Path] = []
    domains: list[Domain] = []
    for path in find_models():
        domain = read_card(path.with_suffix(".json")).domain
        if path.stem not in _BY_NAME_ONLY and not any(one.covers(domain) for one in domains):
            chosen.append(path)
            domains.append(domain)
    return tuple(chosen)


_BY_NAME_ONLY = frozenset({"cifake-cnn", "cifake-resnet18"})
"""They know the pictures of one set, and call 15 to 34 % of other photographs' thumbnails AI."""


def _judging_order(path: Path) -> tuple[bool, str]:
    return path.stem != "photo", path.stem


def locate(model: str) -> Path:
    """The weights file that `--model` names: a file, or the name of a model that comes along."""
    path, is_file = Path(model), os.path.isfile(model)  # Path's own raises for too long a name
    if path.suffix == ".safetensors" or is_file:
        if not is_file:
            raise FakescanError(f"{model}: there is no such weights file")
        return path
    named = weights_folder() / f"{model}.safetensors"
    if not re.fullmatch(r"[\w.-]+", model) or not os.path.isfile(named):
        known = ", ".join(found.stem for found in find_models()) or "none"
        raise FakescanError(f"there is no model {model!r}; known: {known}, or a .safetensors file")
    return named


def load_card(weights: Path, *, as_shipped: bool = False) -> ModelCard:
    """The card beside `weights`, after checking that it is these weights' own.

    The user's own card of them goes before it, unless asked for `as_shipped`. Raises
    FakescanError where the card is missing, or the file's SHA-256 is not the card's.
    """
    card = read_card(weights.with_suffix(".json"))
    if (found := file_sha256(weights)) != card.sha256:
        raise FakescanError(
            f"{weights}: SHA-256 {found[:12]}… is not the card's {card.sha256[:12]}…;"
            " fetch the weights and their card again"
        )
    return card if as_shipped else prefer_user_card(card)


def user_models_folder() -> Path:
    """Where the user's own cards are kept: `$FAKESCAN_MODELS`, or in the user's data folder."""
    if named := os.environ.get("FAKESCAN_MODELS"):
        return Path(named)
    return Path(platformdirs.user_data_dir("fakescan", appauthor=False)) / "models"


def find_user_cards() -> tuple[ModelCard, ...]:
    """The cards that `calibrate` wrote, by name. Raises FakescanError for a file that is none."""
    return tuple(read_card(path) for path in sorted(user_models_folder().glob("*.json")))


def find_user_card(sha256: str) -> ModelCard | None:
    """The user's own card of the weights with this SHA-256, if there is one."""
    path = _find_user_card(sha256)
    return None if path is None else read_card(path)


def prefer_user_card(card: ModelCard) -> ModelCard:
    """The user's card of the same weights, used in the same way; `card` where there is none."""
    return _find_own(card) or card


def save_user_card(card: ModelCard) -> Path:
    """Keep `card` among the user's own, in place of one of the same weights.

    Raises FakescanError where it can't be written.
    """
    name = re.sub(r"[^\w.-]+", "_", card.name)
    fresh = user_models_folder() / f"{name}-{card.sha256[:_DIGITS]}.json"
    path = _find_user_card(card.sha256) or fresh
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(card.to_json(), "utf-8")
    except OSError as error:
        raise FakescanError(f"the card {path} can't be written: {error.strerror}") from error
    return path


_DIGITS = 16
"""Of a SHA-256, in the name of a user's card."""


def _find_own(card: ModelCard) -> ModelCard | None:
    own = find_user_card(card.sha256)
    if own is None:
        return None
    used = (own.architecture, own.input, own.labels)
    return own if used == (card.architecture, card.input, card.labels) else None


def _find_user_card(sha256: str) -> Path | None:
    return next(iter(sorted(user_models_folder().glob(f"*-{sha256[:_DIGITS]}.json"))), None)


def load_tensors(weights: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, as stored. Raises FakescanError where it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(weights)
    except (SafetensorError, OSError) as error:
        raise FakescanError(f"{weights}: not a safetensors file ({error})") from error


def save_model(folder: Path, card: ModelCard, tensors: Mapping[str, Tensor]) -> Path:
    """Write NAME.safetensors and NAME.json into `folder`; the card gets the file's SHA-256."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{card.name}.safetensors"
    # Not save_file, which lets nobody else read what it writes.
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    with replacing(weights) as unfinished:
        unfinished.write_bytes(data)
    save_card(weights, dataclasses.replace(card, sha256=file_sha256(weights)))
    return weights


def save_card(weights: Path, card: ModelCard) -> None:
    """Write `card` beside `weights`, whole or not at all."""
    with replacing(weights.with_suffix(".json")) as unfinished:
        unfinished.write_text(card.to_json(), "utf-8")


def save_card_in_use(weights: Path, card: ModelCard) -> None:
    """Write `card` where `load_card` finds it: as the user's own, or else beside `weights`."""
    if _find_own(card) is None:
        save_card(weights, card)
    else:
        save_user_card(card)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
