from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CARD, save_tiny_model

from fakescan.backends import BackendName, Precision, load_backend
from fakescan.model import (
    ARCHITECTURES,
    Detector,
    build_detector,
    build_network,
    pick_device,
)
from fakescan.networks import Network
from fakescan.networks.photo import build_photo
from fakescan.records import FakescanError
from fakescan.weights import Architecture, ArchitectureName, Input


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn", {"filters": 4, "layers": 1, "dense": (8, 4)}),
        ("cnn", {"filters": 2, "layers": 3, "dense": [16]}),
        ("cnn", {"dense": ()}),
        ("cnn", {"filters": 2, "dense": (8,), "dropout": 0.5}),
        ("resnet18", {}),
        ("resnet18", {"stem_pool": False}),
    ],
)
def test_a_network_gives_one_logit_a_picture(name: str, options: dict[str, object]) -> None:
    network = build_network(Architecture(name, options)).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2,)
    assert logits.isfinite().all()


def test_every_architecture_that_can_be_named_can_be_built() -> None:
    assert set(ARCHITECTURES) == set(ArchitectureName)
    counts = {
        name: sum(p.numel() for p in build_network(Architecture(name)).parameters())
        for name in (ArchitectureName.RESNET34, ArchitectureName.RESNET50)
    }
    # torchvision's 21,284,672 and 23,508,032 without their classifiers and 7x7 stems, with ours.
    assert counts == {
        "resnet34": 21_284_672 - 9408 + 1728 + 513,
        "resnet50": 23_508_032 - 9408 + 1728 + 2049,
    }


def test_dropout_follows_each_dense_layer() -> None:
    head = build_network(Architecture("cnn", {"dense": (8, 4), "dropout": 0.5})).head
    assert isinstance(head, torch.nn.Sequential)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Flatten", *(["Linear", "ReLU", "Dropout"] * 2), "Linear"]


@pytest.mark.parametrize(
    ("name", "options", "channels", "parameters"),
    [
        # torchvision's 6,953,856 and 14,723,136 without their classifiers, with ours.
        ("densenet121", {}, 1024, 6_953_856 - 9408 + 1728 + 1025),
        ("densenet121", {"wide_stem": True, "stem_pool": False}, 1024, 6_953_856 + 1025),
        ("vgg16_bn", {}, 512, 14_723_136 + 513),
    ],
)
def test_standard_networks_are_cut_where_places_are_left(
    name: str, options: dict[str, object], channels: int, parameters: int
) -> None:
    network = build_network(Architecture(name, options)).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    pictures = torch.randn(2, 3, 64, 64)
    features = network.features(pictures)
    assert features.shape[:2] == (2, channels)
    assert features.shape[2] == features.shape[3] > 1
    assert network.head(features).squeeze(1).tolist() == network(pictures).tolist()
    (gradient,) = torch.autograd.grad(network.head(features).sum(), features)
    assert gradient.abs().sum() > 0


def test_densenets_maps_are_rectified_as_its_classifier_sees_them() -> None:
    network = build_network(Architecture("densenet121", {"stem_pool": False})).eval()
    with torch.inference_mode():
        features = network.features(torch.randn(1, 3, 32, 32))
    assert features.min() == 0 < features.max()


def test_options_of_the_small_network_change_it() -> None:
    layers = [
        len(build_network(Architecture("cnn", {"layers": layers})).features) for layers in (1, 2, 3)
    ]
    assert layers == [4, 8, 12]


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture("vgg"), "unknown architecture 'vgg'; known: cnn, resnet18"),
        (Architecture("cnn", {"depth": 3}), "architecture cnn"),
    ],
)
def test_unknown_architectures_are_one_line(architecture: Architecture, message: str) -> None:
    with pytest.raises(FakescanError, match=message):
        build_network(architecture)


def test_weights_of_another_network_are_one_line() -> None:
    tensors = build_network(CARD.architecture).state_dict()
    with pytest.raises(FakescanError, match="don't fit resnet18"):
        build_detector(replace(CARD, architecture=Architecture("resnet18")), tensors)


class Mean(torch.nn.Module):
    """The mean of the left half's red, as it comes in."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1, :, : images.shape[3] // 2].mean(dim=(2, 3))


def half_white() -> torch.Tensor:
    picture = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    picture[:, :, :2] = 255
    return picture


class Seen(torch.nn.Module):
    """Keeps what the network is shown."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images = images
        return images.mean(dim=(1, 2, 3), keepdim=False)[:, None]


def test_enlargement_is_bilinear_and_the_detectors_own() -> None:
    seen = Seen()
    given = Input(4, (0.5,) * 3, (0.25,) * 3, enlarge=8)
    detector = Detector(Network(seen, torch.nn.Identity()), given)
    ramp = torch.tensor([0, 60, 120, 240], dtype=torch.uint8).view(1, 1, 4, 1)
    detector(ramp.expand(1, 4, 4, 3))
    assert seen.images.shape == (1, 3, 8, 8)
    # Twice as many samples, a quarter of a pixel from the old ones; the edges repeat.
    levels = (seen.images[0, 0, 0] * 0.25 + 0.5) * 255
    assert levels.tolist() == pytest.approx([0, 15, 45, 75, 105, 150, 210, 240], abs=1e-3)


def test_enlarging_to_less_is_one_line() -> None:
    given = Input(32, (0.5,) * 3, (0.25,) * 3, enlarge=16)
    with pytest.raises(FakescanError, match="enlarge 16: the crops have 32 px already"):
        Detector(build_network(CARD.architecture), given)


def test_normalisation_is_the_detectors_first_layer() -> None:
    detector = Detector(Network(torch.nn.Identity(), Mean()), Input(4, (0.5,) * 3, (0.25,) * 3))
    # White and black lie two deviations of 0.25 above and below the mean of 0.5.
    assert detector(half_white()).item() == pytest.approx(2)
    assert detector(half_white().flip(2)).item() == pytest.approx(-2)


def test_channels_are_normalised_each_by_its_own() -> None:
    detector = Detector(Network(torch.nn.Identity(), Mean()), Input(4, (0.1, 0, 0), (0.9, 1, 2)))
    images = detector.normalise(torch.full((1, 4, 4, 3), 255, dtype=torch.uint8))
    assert images.shape == (1, 3, 4, 4)
    assert images[0, :, 0, 0].tolist() == pytest.approx([1, 1, 0.5])


def test_the_mirror_image_is_part_of_the_network() -> None:
    given = Input(4, (0.5,) * 3, (0.25,) * 3, mirror=True)
    detector = Detector(Network(torch.nn.Identity(), Mean()), given)
    assert detector(half_white()).item() == pytest.approx(0)
    assert detector(half_white().flip(2)).item() == pytest.approx(0)


# The torch backend


def test_statistics_are_counted_alike_whatever_the_rest_computes_in() -> None:
    features = build_photo(channels=8).features.eval()
    images = torch.randint(0, 256, (2, 3, 128, 128), generator=torch.manual_seed(0)).float()
    with torch.no_grad():
        exact = features(images)[:, 32:]
        with torch.autocast("cpu", torch.bfloat16):
            rounded = features(images)[:, 32:]
    assert torch.equal(rounded, exact)


def test_weights_come_back_as_the_network_that_was_saved(tiny_model: Path) -> None:
    backend = load_backend(tiny_model, device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(CARD.architecture)
    expected = Detector(network, CARD.input).eval()
    with torch.inference_mode():
        wanted = expected(torch.from_numpy(crops(5))).numpy()
    logits = backend.logits(crops(5))
    assert logits.dtype == np.float32
    assert logits == pytest.approx(wanted, abs=1e-6)
    assert (backend.name, backend.precision, backend.card.name) == ("torch", "fp32", "brightness")


def test_a_batch_changes_no_logit(tiny_model: Path) -> None:
    backend = load_backend(tiny_model, backend=BackendName.TORCH, device="cpu")
    pictures = crops(17)
    single = np.concatenate([backend.logits(pictures[n : n + 1]) for n in range(17)])
    # The bound that every backend has to keep.
    assert backend.logits(pictures) == pytest.approx(single, abs=1e-3)


def test_half_weights_are_computed_in_single_precision_on_a_cpu(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path)
    from fakescan.weights import load_card, load_tensors, save_model

    halved = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in load_tensors(weights).items()
    }
    small = save_model(tmp_path / "half", load_card(weights), halved)
    assert small.stat().st_size < weights.stat().st_size
    pair = [load_backend(path, device="cpu").logits(crops(4)) for path in (weights, small)]
    assert pair[0] == pytest.approx(pair[1], abs=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "--device gpu: torch has no such device here"),
        ({"device": "cuda:99"}, "--device cuda:99"),
        ({"device": "cpu", "precision": Precision.FP16}, "--precision fp16"),
    ],
)
def test_what_this_machine_cannot_do_is_one_line(
    tiny_model: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(FakescanError, match=message):
        load_backend(tiny_model, **options)


def test_devices_by_name() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}


@pytest.mark.gpu
def test_a_gpu_gives_the_same_logits(tiny_model: Path) -> None:
    on_cpu, on_gpu, halved = (
        load_backend(tiny_model, device=device, precision=precision)
        for device, precision in (
            ("cpu", None),
            ("cuda", Precision.FP32),
            ("cuda", None),
        )
    )
    assert halved.precision == "fp16"
    expected = on_cpu.logits(crops(64))
    assert on_gpu.logits(crops(64)) == pytest.approx(expected, abs=1e-3)
    assert halved.logits(crops(64)) == pytest.approx(expected, abs=2e-2)
