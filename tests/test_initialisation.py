"""Networks that begin from torchvision's weights, made here, since none are fetched."""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from conftest import CARD, run, save_tiny_model
from test_training import make_set

from fakescan.model import build_network
from fakescan.records import FakescanError
from fakescan.training import train
from fakescan.training.initialisation import (
    IMAGENET_MEAN,
    begin_from_imagenet,
    initialise,
    read_imagenet,
)
from fakescan.training.options import TrainingOptions
from fakescan.weights import Architecture, load_card


@pytest.fixture(scope="session")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torchvision distributes for a ResNet-18, but for the values; as old files are."""
    path = tmp_path_factory.mktemp("weights") / "resnet18-f37072fd.pth"
    with torch.random.fork_rng():
        torch.manual_seed(5)
        tensors = torchvision.models.resnet18().state_dict()
    # Files from before there were counts of batches, in another order.
    old = {key: tensors[key] for key in sorted(tensors) if "num_batches" not in key}
    torch.save(old, path)
    return path


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return tensors


@pytest.mark.parametrize("wide_stem", [False, True])
def test_features_are_torchvisions_and_a_small_stem_the_middle_of_its(
    resnet_file: Path, wide_stem: bool
) -> None:
    architecture = Architecture("resnet18", {"wide_stem": wide_stem})
    network = build_network(architecture)
    before = {name: value.clone() for name, value in network.head.state_dict().items()}
    initialise(network, TrainingOptions(architecture, pretrained=str(resnet_file)))
    given, found = tensors_of(resnet_file), network.features.state_dict()
    stem = given["conv1.weight"] if wide_stem else given["conv1.weight"][:, :, 2:5, 2:5]
    assert torch.equal(found["0.weight"], stem)
    assert torch.equal(found["1.running_var"], given["bn1.running_var"])
    assert torch.equal(found["7.1.conv2.weight"], given["layer4.1.conv2.weight"])
    # What says real or AI begins anew.
    assert all(
        torch.equal(value, before[name]) for name, value in network.head.state_dict().items()
    )


def test_with_its_own_stem_the_network_sees_what_torchvisions_does(resnet_file: Path) -> None:
    theirs = torchvision.models.resnet18()
    theirs.load_state_dict(tensors_of(resnet_file))
    ours = build_network(Architecture("resnet18", {"wide_stem": True}))
    initialise(ours, TrainingOptions(pretrained=str(resnet_file)))
    seen: list[torch.Tensor] = []
    theirs.layer4.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    pictures = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        theirs.eval()(pictures)
        assert torch.equal(ours.eval().features(pictures), seen[0])


@pytest.mark.parametrize(
    ("name", "first"), [("densenet121", "0.conv0.weight"), ("vgg16_bn", "0.weight")]
)
def test_other_networks_take_their_weights(name: str, first: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = getattr(torchvision.models, name)().state_dict()
    tensors = {key: torch.full(value.shape, 0.5) for key, value in shapes.items()}
    network = build_network(Architecture(name))
    begin_from_imagenet(network, name, tensors)
    for key, value in network.features.state_dict().items():
        assert (value == (0 if value.dtype == torch.int64 else 0.5)).all(), key
    assert first in network.features.state_dict()


def test_densenets_old_names_are_understood(tmp_path: Path) -> None:
    tensors = torchvision.models.densenet121().state_dict()
    dotted = {}
    for key, value in tensors.items():
        for kind in ("norm", "conv"):
            for number in "12":
                key = (
                    key.replace(f".{kind}{number}.", f".{kind}.{number}.")
                    if "denselayer" in key
                    else key
                )
        dotted[key] = value
    assert any("norm.1" in key for key in dotted)
    torch.save(dotted, tmp_path / "densenet121-a639ec97.pth")
    found = read_imagenet("densenet121", str(tmp_path / "densenet121-a639ec97.pth"))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in found)


def test_a_run_begins_there_and_its_card_tells_the_terms(resnet_file: Path, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "cifake", 4, 2)
    result = train(
        TrainingOptions(
            architecture=Architecture("resnet18", {}),
            data=folder,
            output=tmp_path / "runs",
            epochs=1,
            batch_size=4,
            validation_fraction=0.25,
            device="cpu",
            pretrained=str(resnet_file),
        )
    )
    card = load_card(result.weights)
    assert card.input.mean == IMAGENET_MEAN
    assert card.license.startswith("Apache-2.0; begun from torchvision's weights (BSD-3-Clause)")
    assert "ImageNet" in card.license
    assert card.training["options"]["pretrained"] == str(resnet_file)


def fetching(monkeypatch: pytest.MonkeyPatch, answer: Exception | Mapping[str, Any]) -> list[str]:
    """Put `answer` in the place of the network; the addresses that are asked for."""
    asked: list[str] = []

    def load(url: str, **_: object) -> Mapping[str, Any]:
        asked.append(url)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", load)
    return asked


def test_imagenet_is_fetched_by_torchvision(
    resnet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fetching(monkeypatch, tensors_of(resnet_file))
    found = read_imagenet("resnet18", "imagenet")
    assert asked == ["https://download.pytorch.org/models/resnet18-f37072fd.pth"]
    assert torch.equal(found["conv1.weight"], tensors_of(resnet_file)["conv1.weight"])


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("no route"), ConnectionResetError(), RuntimeError("invalid hash value")],
)
def test_what_cannot_be_fetched_is_one_line_that_names_the_mend(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fetching(monkeypatch, error)
    with pytest.raises(FakescanError, match=r"resnet18-f37072fd.pth can't be fetched; .* FILE$"):
        read_imagenet("resnet18", "imagenet")


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_what_is_no_file_of_tensors_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(FakescanError, match="no file of tensors"):
        read_imagenet("resnet18", str(path))


def test_weights_of_another_network_are_one_line(resnet_file: Path, tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match="not torchvision's weights for resnet34"):
        read_imagenet("resnet34", str(resnet_file))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FakescanError, match="not torchvision's weights for resnet18"):
        read_imagenet("resnet18", str(tmp_path / "list.pth"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrained": "nowhere.pth"}, "--pretrained nowhere.pth: there is no such file"),
        (
            {"pretrained": "imagenet", "architecture": Architecture("cnn")},
            "torchvision has no weights for cnn",
        ),
        ({"pretrained": "imagenet", "init": "x"}, "--init and --pretrained"),
    ],
)
def test_what_a_network_cannot_begin_from_is_one_line(
    changes: dict[str, Any], message: str
) -> None:
    options = TrainingOptions(**changes)
    with pytest.raises(FakescanError, match=message):
        initialise(build_network(Architecture("cnn", {"filters": 2})), options)


def test_the_command_line_takes_every_way_of_training(tmp_path: Path) -> None:
    folder = make_set(tmp_path / "cifake", 4, 2)
    arguments = ["--filters", "4", "--layers", "1", "--dense", "8", "--dropout", "0.5"]
    arguments += ["--optimizer", "sgd", "--schedule", "cosine", "--no-flip", "--rotation", "10"]
    arguments += ["--zoom", "0.1", "--degrade", "--no-mirror", "--best-epoch", "--epochs", "1"]
    arguments += ["--batch-size", "4", "--validation-fraction", "0.25", "--device", "cpu"]
    outcome = run(
        *("train", "--arch", "cnn", "--data", folder, "--output", tmp_path, "--name", "run"),
        *arguments,
    )
    assert (outcome.code, outcome.stderr) == (0, "")
    card = load_card(tmp_path / "run/run.safetensors")
    asked = card.training["options"]
    assert (asked["optimizer"], asked["schedule"], asked["flip"]) == ("sgd", "cosine", False)
    assert (asked["rotation"], asked["zoom"], asked["degrade"]) == (10.0, 0.1, True)
    assert (card.input.mirror, asked["best_epoch"]) == (False, True)
    assert card.architecture.options["dropout"] == 0.5


def test_a_network_of_ours_still_is_a_beginning(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path)
    network = build_network(CARD.architecture)
    initialise(network, TrainingOptions(CARD.architecture, init=str(weights)))
    begun = build_network(CARD.architecture)
    begun.load_state_dict(network.state_dict())
    with pytest.raises(FakescanError, match="its architecture is"):
        initialise(network, TrainingOptions(init=str(weights)))
