"""Tiny random networks of transformers and timm, saved as their libraries save them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SIDE = 32
AI_FIRST = {0: "artificial", 1: "human"}


def save_vit(folder: Path, labels: Mapping[int, str] = AI_FIRST, **settings: Any) -> Path:
    """A ViT for pictures squeezed to 32 px."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        **_labels(labels),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=SIDE,
        patch_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ViTForImageClassification(config)
        spread(network.classifier.weight)
    return _save(folder, network, ViTImageProcessor(size={"height": SIDE, "width": SIDE}), settings)


def save_swin(folder: Path) -> Path:
    """A Swin for pictures squeezed to 32 px."""
    import torch
    from transformers import SwinConfig, SwinForImageClassification, ViTImageProcessor

    config = SwinConfig(
        **_labels({0: "Real", 1: "Fake"}),
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
        image_size=SIDE,
        patch_size=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SwinForImageClassification(config)
        spread(network.classifier.weight)
    return _save(folder, network, ViTImageProcessor(size={"height": SIDE, "width": SIDE}), {})


def save_resnet(folder: Path) -> Path:
    """A ResNet for the middle 32 px of pictures whose shorter side is shrunk."""
    import torch
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        **_labels({0: "real", 1: "midjourney", 2: "sdxl"}),
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResNetForImageClassification(config)
        spread(network.classifier[1].weight)
    processor = ConvNextImageProcessor(size={"shortest_edge": SIDE}, crop_pct=0.875)
    return _save(folder, network, processor, {})


TIMM = "vit_tiny_patch16_224"
TIMM_SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}


def save_timm(folder: Path) -> Path:
    """A tiny ViT of timm's in its layout for the Hub."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(TIMM, num_classes=2, **TIMM_SIZES)
        spread(network.head.weight)
    pretrained = {
        "input_size": [3, 32, 32],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
    config = {
        "architecture": TIMM,
        "num_classes": 2,
        "label_names": ["ai", "real"],
        "model_args": TIMM_SIZES,
        "pretrained_cfg": pretrained,
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder


TIMM_FILE = "mobilenetv3_small_050"


def save_timm_weights(path: Path) -> Path:
    """Weights alone, of a small network of timm's with two classes."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(TIMM_FILE, num_classes=2)
    save_file(network.state_dict(), path)
    return path


def spread(weight: Any) -> None:
    """Larger than as initialised, so that pictures differ in their logits."""
    weight.data.mul_(50)


def _labels(labels: Mapping[int, str]) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": dict(labels),
        "label2id": {label: place for place, label in labels.items()},
    }


def _save(folder: Path, network: Any, processor: Any, settings: Mapping[str, Any]) -> Path:
    network.save_pretrained(folder, **settings)
    processor.save_pretrained(folder)
    return folder
