from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CARD, run, save_tiny_model
from PIL import Image

from fakescan import benchmark
from fakescan.benchmark import Rates
from fakescan.benchmark.hugging_face import rename_tensors
from fakescan.benchmark.material import make_model, make_pictures
from fakescan.weights import Domain

ANY_SIZE = replace(CARD, domain=Domain(32, None, "any picture"))


def test_pictures_have_the_sizes_asked_for_in_turn(tmp_path: Path) -> None:
    make_pictures(tmp_path, 5, (0.3, 2.0))
    pictures = [Image.open(path) for path in sorted(tmp_path.iterdir())]
    assert [picture.size for picture in pictures] == [(640, 480), (1632, 1224)] * 2 + [(640, 480)]
    assert {picture.format for picture in pictures} == {"JPEG"}
    # As many bytes a pixel as cameras write, so that decoding takes as long.
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    for picture, size in zip(pictures, sizes, strict=True):
        assert 0.05 < size / (picture.width * picture.height) < 0.6
    assert len(set(sizes)) == 5


def test_bench_measures_a_model_that_judges_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    weights = save_tiny_model(tmp_path / "models", ANY_SIZE)
    make_pictures(tmp_path / "pictures", 3, (0.3,))
    (tmp_path / "pictures" / "notes.txt").write_text("not a picture")
    outcome = run(
        *("bench", tmp_path / "pictures", "--model", weights, "--backend", "onnx"),
        *("--device", "cpu", "--images", "2", "--repeats", "1", "--crops", "2"),
    )
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.count("\n") == 1
    result = json.loads(outcome.stdout)
    for rates in (result["images_per_second"], result["megabytes_per_second"]):
        assert rates.keys() == {"decode", "inference", "scan"}
        assert all(rate > 0 for rate in rates.values())
    assert result["share_of_limit"] > 0
    assert 0 < result["startup_seconds"] < 60
    assert 0 < result["first_finding_seconds"] < 60
    # Not this process's, which has torch in it.
    assert 50 < result["peak_memory_mb"] < 300
    expected = {
        "backend": "onnx",
        "precision": "fp32",
        "device": "cpu",
        "model": "brightness",
        "model_version": CARD.version,
        "model_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "crops": 2,
        "images": 2,
        "repeats": 1,
        "ratio_to_hugging_face": None,
    }
    assert {name: result[name] for name in expected} == expected
    assert result["megapixels"] == pytest.approx(0.3072)
    assert result["machine"]["cores"] >= 1
    assert {"python", "fakescan", "onnxruntime", "numpy"} <= result["versions"].keys()
    assert "of the limit" in outcome.stderr
    assert "MB/s" in outcome.stderr


def test_pictures_that_no_model_judges_are_part_of_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = save_tiny_model(tmp_path / "models", ANY_SIZE)
    make_pictures(tmp_path / "pictures", 1, (0.3,))
    for number in range(3):
        Image.new("RGB", (16, 16)).save(tmp_path / "pictures" / f"zz-{number}.png")
    found: list[int] = []
    infer = benchmark._infer
    monkeypatch.setattr(
        benchmark, "_infer", lambda sample, *more: (found.append(len(sample)), infer(sample, *more))
    )
    flags = ("--model", weights, "--backend", "torch", "--device", "cpu", "--repeats", "1")
    outcome = run("bench", tmp_path / "pictures", *flags)
    assert outcome.code == 0, outcome.stderr
    assert found == [4, 4]


def test_the_limit_is_the_slower_on_a_gpu_and_the_sum_of_both_on_a_cpu() -> None:
    rates = Rates(decode=30.0, inference=60.0, scan=0.0)
    assert benchmark._limit(rates, "cpu") == pytest.approx(20.0)
    assert benchmark._limit(rates, "cuda:0") == 30.0


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    outcome = run("bench", tmp_path, "--images", "1")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    outcome = run("bench", "--megapixels", "7")
    assert (outcome.code, outcome.stderr) == (2, "fakescan: --megapixels is 0.3, 2 or 12\n")


@pytest.mark.slow
def test_compare_runs_the_same_network_through_hugging_face() -> None:
    pytest.importorskip("transformers")
    arguments = ("--images", "2", "--repeats", "1", "--megapixels", "0.3", "--device", "cpu")
    outcome = run("bench", "--compare", "--backend", "onnx", "--json", *arguments)
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    assert result["model"] == "resnet50-224-random"
    assert result["ratio_to_hugging_face"] > 0
    assert result["crops"] == 1


@pytest.mark.slow
def test_both_networks_give_the_same_logit(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    from fakescan.backends import BackendName, load_backend
    from fakescan.weights import load_tensors

    windows = np.zeros((1, 224, 224, 3), np.uint8)
    weights = make_model(tmp_path, BackendName.TORCH, None, windows)
    ours = load_backend(weights, backend=BackendName.TORCH, device="cpu")
    config = transformers.ResNetConfig(num_labels=2)
    theirs = transformers.ResNetForImageClassification(config).eval()
    theirs.load_state_dict(rename_tensors(load_tensors(weights)))
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    given = ours.card.input
    images = (crops / 255 - np.array(given.mean)) / np.array(given.std)
    with torch.inference_mode():
        logits = theirs(torch.from_numpy(images).permute(0, 3, 1, 2).float()).logits
    np.testing.assert_allclose((logits[:, 1] - logits[:, 0]).numpy(), ours.logits(crops), atol=1e-3)
