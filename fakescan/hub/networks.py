"""A published model's network in torch, with one logit a picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fakescan.hub.published import PublishedModel
from fakescan.processing import quiet_transformers, require_library
from fakescan.records import FakescanError
from fakescan.weights import Labels, Library, load_tensors


class PublishedNetwork(nn.Module):
    """Another library's classifier: float (N, 3, H, W), as processed, to float32 logits (N,)."""

    def __init__(self, network: nn.Module, labels: Labels) -> None:
        super().__init__()
        self.network = network
        self.labels = labels

    def forward(self, pictures: Tensor) -> Tensor:
        """Uncalibrated logits of AI."""
        outputs = self.network(pictures)
        values: Tensor = getattr(outputs, "logits", outputs)
        return odds_of_ai(values.float(), self.labels)


def odds_of_ai(outputs: Tensor, labels: Labels) -> Tensor:
    """The logit (N,) of AI against all else from the outputs (N, K) of a classifier.

    By softmax, P(AI) is the sum over its classes, so that this is the exact logarithm of its odds;
    a single output is a sigmoid's logit already. Raises ValueError where K is not the classes'.
    """
    if outputs.ndim != 2 or outputs.shape[1] != len(labels.names):
        raise ValueError("outputs are not of these classes")
    if len(labels.names) == 1:
        return outputs[:, 0] if labels.ai else -outputs[:, 0]
    others = [place for place in range(len(labels.names)) if place not in labels.ai]
    ai = torch.logsumexp(outputs[:, list(labels.ai)], dim=1)
    return ai - torch.logsumexp(outputs[:, others], dim=1)


def build_published(model: PublishedModel) -> PublishedNetwork:
    """The network with its weights, in evaluation mode and float32.

    No code comes from the model: the library's own is built from its settings. Raises
    FakescanError where the weights don't fill it.
    """
    assert model.card.labels is not None
    is_timm = model.card.architecture.name == Library.TIMM
    network = _build_timm(model) if is_timm else _build_transformers(model)
    return PublishedNetwork(network, model.card.labels).eval().requires_grad_(False)


def _build_transformers(model: PublishedModel) -> nn.Module:
    require_library("transformers")
    from transformers import AutoModelForImageClassification

    assert model.config is not None
    folder = model.config.parent
    with quiet_transformers():
        try:
            network, report = AutoModelForImageClassification.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise FakescanError(
                f"{folder}: transformers has no image classifier for these settings and weights"
            ) from error
    # Otherwise a head that the file lacks would be one of random numbers.
    lacking = sorted({*report["missing_keys"], *(_name(key) for key in report["mismatched_keys"])})
    if lacking:
        raise _misfit(model, lacking)
    result: nn.Module = network
    return result


def _build_timm(model: PublishedModel) -> nn.Module:
    require_library("timm")
    import timm

    options = model.card.architecture.options
    try:
        network: nn.Module = timm.create_model(
            options["name"],
            pretrained=False,
            num_classes=options["num_classes"],
            **options["arguments"],
        )
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError) as error:
        raise FakescanError(
            f"{model.card.name}: timm can't build {options['name']} by these settings"
        ) from error
    # As transformers saves a network of timm's.
    tensors = {
        key.removeprefix("timm_model."): tensor
        for file in model.files
        for key, tensor in load_tensors(file).items()
    }
    try:
        missing = network.load_state_dict(tensors, strict=False).missing_keys
    except RuntimeError as error:
        raise FakescanError(
            f"model {model.card.name}: the weights don't fit {options['name']}"
        ) from error
    if missing:
        raise _misfit(model, missing)
    return network.float()


def _name(key: Any) -> str:
    return str(key[0] if isinstance(key, (tuple, list)) else key)


def _misfit(model: PublishedModel, lacking: list[str]) -> FakescanError:
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return FakescanError(
        f"model {model.card.name}: its weights lack {lacking[0]}{more}, so it was never trained to"
        " classify, or the file is another network's"
    )
