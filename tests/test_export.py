from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import CARD, CHECKOUT, run, save_tiny_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import numpy as np
import onnx
import onnxruntime
import torch

from fakescan.backends import BackendName, Precision, conversion, load_backend
from fakescan.backends.conversion import LARGEST_DIFFERENCE, export_graph
from fakescan.backends.graphs import graph_metadata, read_metadata
from fakescan.model import Detector, build_network
from fakescan.records import FakescanError
from fakescan.weights import Architecture, load_card

MIRRORED = replace(CARD, input=replace(CARD.input, mirror=True))


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("precision", "name"),
    [(Precision.FP32, "brightness.onnx"), (Precision.FP16, "brightness.fp16.onnx")],
)
def test_a_graph_takes_windows_and_gives_logits(
    tmp_path: Path, precision: Precision, name: str
) -> None:
    weights = save_tiny_model(tmp_path, MIRRORED)
    export = export_graph(weights, None, precision)
    assert export.path == tmp_path / name
    assert 0 <= export.difference <= LARGEST_DIFFERENCE[precision]
    assert left_over(tmp_path) == sorted((name, "brightness.json", "brightness.safetensors"))
    assert read_metadata(export.path) == graph_metadata(load_card(weights), precision)

    model = onnx.load(export.path)
    (crops,), (logits,) = model.graph.input, model.graph.output
    assert (crops.name, crops.type.tensor_type.elem_type) == ("crops", onnx.TensorProto.UINT8)
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", onnx.TensorProto.FLOAT)
    shape = [dim.dim_param or dim.dim_value for dim in crops.type.tensor_type.shape.dim]
    assert shape == ["batch", 32, 32, 3]
    # TensorRT takes uint8 only where a cast follows at once.
    assert {node.op_type for node in model.graph.node if "crops" in node.input} == {"Cast"}
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    arithmetic = onnx.TensorProto.FLOAT if precision == Precision.FP32 else onnx.TensorProto.FLOAT16
    assert kinds - {onnx.TensorProto.INT64} == {arithmetic}


@pytest.mark.slow
def test_the_shipped_photo_model_has_a_graph_in_half_precision(tmp_path: Path) -> None:
    weights = CHECKOUT / "weights" / "photo.safetensors"
    export = export_graph(weights, tmp_path / "photo.onnx", Precision.FP16)
    # Its statistics and trees stay exact: rounding there moves logits by .2.
    assert export.difference < 2e-3
    kinds = {tensor.data_type for tensor in onnx.load(export.path).graph.initializer}
    assert {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16} <= kinds


def test_bf16_rounds_what_a_photo_network_has_learned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = Architecture("photo", {"channels": 8, "trees": 4, "leaves": 3})
    detector = Detector(build_network(small), replace(CARD.input, size=128)).eval()
    crops = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    with torch.inference_mode():
        exact = detector.network.features(detector.normalise(crops))
        lowered = detector.compute_in(torch.bfloat16)
        rounded = lowered.network.features(lowered.normalise(crops))
    learned = 32
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact)[:, :learned].abs().max() < 0.5
    assert torch.equal(rounded[:, learned:], exact[:, learned:])


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_graph_agrees_with_torch(
    tmp_path_factory: pytest.TempPathFactory, precision: Precision, batch: int
) -> None:
    weights = save_tiny_model(tmp_path_factory.getbasetemp() / "agreeing", MIRRORED)
    graph = weights.with_suffix(f".{precision}.onnx")
    if not graph.exists():
        export_graph(weights, graph, precision)
    crops = np.random.default_rng(batch).integers(0, 256, (batch, 32, 32, 3), dtype=np.uint8)
    wanted = load_backend(weights, backend=BackendName.TORCH, device="cpu").logits(crops)
    (found,) = onnxruntime.InferenceSession(graph).run(["logits"], {"crops": crops})
    assert found.shape == (batch,)
    assert np.abs(found - wanted).max() <= LARGEST_DIFFERENCE[precision]


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("photo", {"channels": 4}, 128),
        pytest.param("resnet18", {}, 32, marks=pytest.mark.slow),
        pytest.param("densenet121", {}, 32, marks=pytest.mark.slow),
        pytest.param("vgg16_bn", {}, 32, marks=pytest.mark.slow),
        pytest.param("resnet18", {"wide_stem": True}, 64, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_network_has_a_graph(
    tmp_path: Path, name: str, options: dict[str, Any], size: int
) -> None:
    card = replace(
        MIRRORED,
        architecture=replace(CARD.architecture, name=name, options=options),
        input=replace(MIRRORED.input, size=size),
    )
    weights = save_tiny_model(tmp_path, card)
    for precision in (Precision.FP32, Precision.FP16):
        assert export_graph(weights, None, precision).samples > 0


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_enlargement_is_part_of_the_graph(tmp_path: Path, precision: Precision) -> None:
    options = {"filters": 4, "layers": 1, "dense": (8,), "average": True}
    card = replace(
        MIRRORED,
        architecture=replace(CARD.architecture, options=options),
        input=replace(MIRRORED.input, enlarge=56),
    )
    weights = save_tiny_model(tmp_path, card)
    graph = export_graph(weights, None, precision).path
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    wanted = load_backend(weights, backend=BackendName.TORCH, device="cpu").logits(crops)
    (found,) = onnxruntime.InferenceSession(graph).run(["logits"], {"crops": crops})
    assert np.abs(found - wanted).max() <= LARGEST_DIFFERENCE[precision]
    # Crops stay as they were cut; the graph that saw them so would say something else.
    small = replace(card, name="small", input=MIRRORED.input)
    unlike = load_backend(save_tiny_model(tmp_path, small), backend=BackendName.TORCH, device="cpu")
    assert np.abs(unlike.logits(crops) - wanted).max() > 2 * LARGEST_DIFFERENCE[precision]


def test_a_graph_that_strays_never_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = save_tiny_model(tmp_path)
    monkeypatch.setattr(conversion, "LARGEST_DIFFERENCE", {Precision.FP32: -1.0})
    with pytest.raises(FakescanError, match="the fp32 graph misses torch's logits by"):
        export_graph(weights, None, Precision.FP32)
    assert left_over(tmp_path) == ["brightness.json", "brightness.safetensors"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path / "models")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FakescanError, match="can't be written"):
        export_graph(weights, tmp_path / "file" / "graph.onnx", Precision.FP32)


def test_export_on_the_command_line(tmp_path: Path) -> None:
    weights = save_tiny_model(tmp_path)
    output = tmp_path / "elsewhere" / "graph.onnx"
    outcome = run("export", "--model", weights, "--output", output)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"{output}: logits within ")
    onnx.checker.check_model(output)
