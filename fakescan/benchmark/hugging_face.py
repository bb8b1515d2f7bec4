"""The same network in Hugging Face's image-classification pipeline, to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fakescan.benchmark.material import RESNET_INPUT
from fakescan.records import FakescanError, how_to_install
from fakescan.weights import load_tensors

if TYPE_CHECKING:
    from torch import Tensor


def load_classifier(weights: Path, device: str) -> Callable[[Sequence[str]], None]:
    """transformers' own pipeline around the same ResNet-50, with the same weights."""
    try:
        from transformers import (
            ConvNextImageProcessor,
            ResNetConfig,
            ResNetForImageClassification,
        )
        from transformers import pipeline as make_pipeline
    except ImportError as error:
        raise FakescanError(f"--compare needs {error.name}: {how_to_install('compare')}") from error
    model = ResNetForImageClassification(ResNetConfig(num_labels=2)).eval()
    model.load_state_dict(rename_tensors(load_tensors(weights)))
    # As published with ResNet-50: the short side to 256, of it the middle 224.
    processor = ConvNextImageProcessor(
        size={"shortest_edge": RESNET_INPUT.size},
        crop_pct=0.875,
        image_mean=list(RESNET_INPUT.mean),
        image_std=list(RESNET_INPUT.std),
    )
    classifier = make_pipeline(
        "image-classification", model=model, image_processor=processor, device=device
    )

    def classify(paths: Sequence[str]) -> None:
        classifier(list(paths), batch_size=16)

    return classify


def rename_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our ResNet-50's tensors under transformers' names, with a first class of logit 0.

    Softmax over the two classes is then the sigmoid of our one logit.
    """
    import torch

    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part, rest = name.split(".", 1)
        if part == "head":
            kind = rest.rsplit(".", 1)[1]
            renamed[f"classifier.1.{kind}"] = torch.cat([torch.zeros_like(tensor), tensor])
            continue
        stage, rest = rest.split(".", 1)
        if int(stage) < _FIRST_STAGE:
            kind = "convolution" if stage == "0" else "normalization"
            renamed[f"resnet.embedder.embedder.{kind}.{rest}"] = tensor
            continue
        block, layer, rest = rest.split(".", 2)
        if layer == "downsample":
            index, rest = rest.split(".", 1)
            place, is_convolution = "shortcut", index == "0"
        else:
            place, is_convolution = f"layer.{int(layer[-1]) - 1}", layer.startswith("conv")
        kind = "convolution" if is_convolution else "normalization"
        stages = f"resnet.encoder.stages.{int(stage) - _FIRST_STAGE}"
        renamed[f"{stages}.layers.{block}.{place}.{kind}.{rest}"] = tensor
    return renamed


_FIRST_STAGE = 4
"""In our features: stem, normalisation, ReLU and pooling come before."""
