"""Where a network begins: from a model of ours, or from torchvision's weights for ImageNet."""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from fakescan.networks import Network
from fakescan.records import FakescanError
from fakescan.training.options import TrainingOptions
from fakescan.weights import Architecture, load_card, load_tensors, locate

IMAGENET = "imagenet"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of channels in [0, 1]: what torchvision's weights were trained with."""

TERMS = (
    "begun from torchvision's weights (BSD-3-Clause), which were trained on ImageNet, whose terms"
    " allow non-commercial research and teaching"
)
"""Of networks that began there, for their cards."""

TENSOR_FILE_ERRORS = (
    *(RuntimeError, ValueError, LookupError, TypeError, OSError, EOFError, AttributeError),
    *(pickle.UnpicklingError, struct.error),
)
"""What torch raises on files that are none of its own, cut short, or of another network."""

_models: Any = torchvision.models  # the names below are not among those it says it exports
_WEIGHTS = "IMAGENET1K_V1"
# Of their own accord torchvision's file of DenseNet names layers as Python no longer may.
_DOTTED_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_CLASSIFIERS = ("fc.", "classifier.")


@torch.no_grad()
def check_side(network: Network, name: str, side: int) -> None:
    """Raise FakescanError where `network`, of architecture `name`, takes no such pictures."""
    # The small network's dense layers know one size, and deep ones pool small pictures to nothing.
    try:
        network.eval()(torch.zeros(1, 3, side, side))
    except RuntimeError as error:
        raise FakescanError(
            f"--arch {name}: not for pictures of {side} px; cnn takes any with --average"
        ) from error


def initialise(network: Network, options: TrainingOptions) -> None:
    """Give `network` the weights that `options` say to begin from, if any.

    Raises FakescanError where both are named, or they are not there, or of another network.
    """
    if options.init is not None and options.pretrained is not None:
        raise FakescanError("--init and --pretrained: a network begins from one of them")
    if options.init is not None:
        _begin_from_model(network, options.init, options.architecture)
    if options.pretrained is not None:
        name = options.architecture.name
        begin_from_imagenet(network, name, read_imagenet(name, options.pretrained))


def _begin_from_model(network: Network, init: str, architecture: Architecture) -> None:
    weights = locate(init)
    card = load_card(weights)
    # JSON has no tuples.
    options = json.loads(json.dumps(architecture.options))
    if card.architecture != replace(architecture, options=options):
        raise FakescanError(f"--init {init}: its architecture is {card.architecture}")
    network.load_state_dict(load_tensors(weights))


def read_imagenet(name: str, pretrained: str) -> Mapping[str, Tensor]:
    """torchvision's tensors for architecture `name`: fetched for `imagenet`, else from that file.

    torchvision keeps what it fetches in torch's cache. Raises FakescanError where there are no
    such weights, or they can't be fetched or read.
    """
    if name not in _models.list_models():
        raise FakescanError(f"--pretrained: torchvision has no weights for {name}")
    weights = _models.get_model_weights(name)[_WEIGHTS]
    if pretrained == IMAGENET:
        try:
            tensors = weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise FakescanError(
                f"--pretrained imagenet: {weights.url} can't be fetched; get the file elsewhere"
                " and name it: --pretrained FILE"
            ) from error
    else:
        if not Path(pretrained).is_file():
            raise FakescanError(f"--pretrained {pretrained}: there is no such file")
        try:
            tensors = torch.load(pretrained, map_location="cpu", weights_only=True)
        except TENSOR_FILE_ERRORS as error:
            raise FakescanError(f"--pretrained {pretrained}: no file of tensors") from error
    # Under its names and on no device: the model checks them all, and computes nothing.
    with torch.device("meta"):
        model = _models.get_model(name)
    try:
        renamed = {_DOTTED_LAYER.sub(r"\1\2", key): value for key, value in tensors.items()}
        model.load_state_dict(renamed, assign=True)
    except TENSOR_FILE_ERRORS as error:
        raise FakescanError(
            f"--pretrained {pretrained}: not torchvision's weights for {name}"
        ) from error
    found: Mapping[str, Tensor] = model.state_dict()
    return found


def begin_from_imagenet(network: Network, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Give the features of `network`, an architecture of `name`, torchvision's `tensors`.

    A 3x3 stem takes the middle of the 7x7 one's kernels. The head stays as it is.
    """
    features = network.features.state_dict()
    given = [value for key, value in tensors.items() if not key.startswith(_CLASSIFIERS)]
    # The features are torchvision's own layers, so that both are in the same order.
    for (key, tensor), value in zip(features.items(), given, strict=True):
        if value.shape != tensor.shape:
            edge = (value.shape[-1] - tensor.shape[-1]) // 2
            value = value[..., edge:-edge, edge:-edge]
        features[key] = value
    network.features.load_state_dict(features)
