"""Faster arithmetic: int8 graphs made on pictures, changed verdicts counted and noted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import CARD, run, save_tiny_model

pytest.importorskip("onnxruntime")

import numpy as np
import onnx
from PIL import Image

from fakescan.backends import BackendName, Precision, load_backend
from fakescan.backends.graphs import graph_metadata, read_metadata
from fakescan.backends.quantization import quantize_graph
from fakescan.records import FakescanError
from fakescan.training.precision import measure_precision
from fakescan.weights import Architecture, Calibration, load_card, save_user_card

CROPS = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
NETWORK = replace(CARD, architecture=Architecture("cnn", {"filters": 8, "dense": ()}))


def write_pictures(folder: Path, strength: int, count: int = 300) -> Path:
    """Class folders of noise of a strength around one level."""
    noise = np.random.default_rng(1).integers(-strength, strength + 1, (count, 32, 32, 3))
    for number, pixels in enumerate((128 + noise).astype(np.uint8)):
        path = folder / "train" / ("FAKE", "REAL")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More pictures than the ranges of int8 come from."""
    return write_pictures(tmp_path_factory.mktemp("data"), strength=100)


def test_an_int8_graph_keeps_the_logits_roughly(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path, replace(NETWORK, thresholds=None))
    graph = quantize_graph(weights, CROPS)
    assert graph == tmp_path / "brightness.int8.onnx"
    assert read_metadata(graph) == graph_metadata(load_card(weights), Precision.INT8)
    stored = {tensor.data_type for tensor in onnx.load(graph).graph.initializer}
    assert onnx.TensorProto.INT8 in stored

    wanted = load_backend(weights, backend=BackendName.TORCH, device="cpu").logits(CROPS)
    # Without thresholds there is no verdict that could change.
    found = load_backend(weights, backend=BackendName.ONNX, precision=Precision.INT8)
    assert (found.precision, found.device) == ("int8", "cpu")
    difference = np.abs(found.logits(CROPS) - wanted).max()
    assert 0 < difference < 0.1 * np.ptp(wanted) + 0.02
    pytest.importorskip("openvino")
    other = load_backend(weights, backend=BackendName.OPENVINO, precision=Precision.INT8)
    assert np.abs(other.logits(CROPS) - wanted).max() < 0.1 * np.ptp(wanted) + 0.02


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.BF16])
def test_few_changed_verdicts_allow_a_precision(
    data: Path, tmp_path: Path, precision: Precision
) -> None:
    # Whatever the picture, the score is far above the threshold.
    sure = replace(NETWORK, calibration=Calibration(slope=0.01, intercept=9.0, n=1000))
    weights = save_tiny_model(tmp_path, sure)
    changes = measure_precision(weights, data, precision)
    assert (changes.share, changes.n, changes.is_allowed) == (0.0, 300 - 256, True)
    card = load_card(weights)
    assert card.metrics["verdicts_changed"] == {precision.value: 0.0}
    assert (tmp_path / "brightness.int8.onnx").exists() == (precision == Precision.INT8)
    backend = BackendName.ONNX if precision == Precision.INT8 else BackendName.TORCH
    loaded = load_backend(weights, backend=backend, device="cpu", precision=precision)
    assert loaded.precision == precision


def test_what_a_calibrated_model_allows_stands_on_its_users_card(
    data: Path, tmp_path: Path
) -> None:
    weights = save_tiny_model(tmp_path, NETWORK)
    shipped = load_card(weights)
    sure = replace(shipped, calibration=Calibration(slope=0.01, intercept=9.0, n=1000))
    save_user_card(sure)
    measure_precision(weights, data, Precision.BF16)
    assert load_card(weights, as_shipped=True) == shipped
    assert load_card(weights) == replace(sure, metrics={"verdicts_changed": {"bf16": 0.0}})
    load_backend(weights, device="cpu", backend=BackendName.TORCH, precision=Precision.BF16)


def test_many_changed_verdicts_forbid_it(tmp_path: Path) -> None:
    # Pictures so much alike that eight bits don't tell them apart, and a score that does.
    alike = write_pictures(tmp_path / "alike", strength=1)
    random = load_backend(save_tiny_model(tmp_path, NETWORK), backend=BackendName.TORCH)
    logits = random.logits(np.stack([np.asarray(Image.open(one)) for one in alike.rglob("*.png")]))
    steep = Calibration(slope=1e6, intercept=-1e6 * float(np.median(logits)), n=1000)
    weights = save_tiny_model(tmp_path / "steep", replace(NETWORK, calibration=steep))
    outcome = run("export", "--model", weights, "--precision", "int8", "--data", alike)
    assert outcome.code == 2
    assert "of 44 verdicts change, and 0.5% at most is allowed" in outcome.stderr
    assert not weights.with_suffix(".int8.onnx").exists()
    noted = json.loads(weights.with_suffix(".json").read_text())["metrics"]["verdicts_changed"]
    assert noted["int8"] > 0.005
    with pytest.raises(FakescanError, match="of the verdicts"):
        load_backend(weights, backend=BackendName.ONNX, precision=Precision.INT8)


def test_the_command_says_what_it_found(data: Path, tmp_path: Path) -> None:
    sure = replace(NETWORK, calibration=Calibration(slope=0.01, intercept=9.0, n=1000))
    weights = save_tiny_model(tmp_path, sure)
    outcome = run("export", "--model", weights, "--precision", "int8", "--data", data)
    assert outcome.code == 0, outcome.stderr
    assert "0.00% of 44 verdicts change; its card allows it now" in outcome.stdout


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--precision", "int8"), "--precision int8 needs --data"),
        (("--precision", "bf16"), "--precision bf16 needs --data"),
        (("--data", "."), "fp32 is checked against torch, without pictures"),
        (("--precision", "int8", "--data", ".", "--output", "x.onnx"), "leave it out"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, flags: tuple[str, ...], line: str) -> None:
    outcome = run("export", "--model", save_tiny_model(tmp_path), *flags)
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    assert line in outcome.stderr


def test_what_cannot_be_measured_is_one_line(data: Path, tmp_path: Path) -> None:
    undecided = save_tiny_model(tmp_path / "undecided", replace(NETWORK, thresholds=None))
    with pytest.raises(FakescanError, match="has no thresholds"):
        measure_precision(undecided, data, Precision.BF16)
    weights = save_tiny_model(tmp_path / "decided", NETWORK)
    with pytest.raises(FakescanError, match="257 are the least"):
        measure_precision(weights, write_pictures(tmp_path / "few", 1, count=4), Precision.BF16)


def test_what_was_held_back_is_asked_for_only_where_nothing_else_is(
    data: Path, tmp_path: Path
) -> None:
    sure = replace(NETWORK, calibration=Calibration(slope=0.01, intercept=9.0, n=1000))
    # The photo network ignores --validation-fraction, and its card has none.
    photo = replace(sure, training={"options": {"seed": 0}})
    weights = save_tiny_model(tmp_path / "photo", photo)
    with pytest.raises(FakescanError, match="held back no share of class folders"):
        measure_precision(weights, data, Precision.BF16)
    for split in ("val", "test"):
        folder = tmp_path / split
        shutil.copytree(data / "train", folder / split)
        if split == "test":
            with pytest.raises(FakescanError, match="a test split alone"):
                measure_precision(weights, folder, Precision.BF16)
        else:
            assert measure_precision(weights, folder, Precision.BF16).n == 300 - 256
    half = {"options": {"seed": 0, "validation_fraction": 0.5}}
    trained = save_tiny_model(tmp_path / "trained", replace(sure, training=half))
    with pytest.raises(FakescanError, match="150 pictures, 257 are the least"):
        measure_precision(trained, data, Precision.BF16)


def test_a_missing_int8_graph_is_asked_for(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path, replace(NETWORK, thresholds=None))
    with pytest.raises(FakescanError, match=r"export --model .* --precision int8 --data"):
        load_backend(weights, backend=BackendName.ONNX, precision=Precision.INT8)
