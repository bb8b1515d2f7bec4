from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CARD, noisy, run, save_tiny_model
from cuda_double import patch_cuda

from fakescan import backends
from fakescan.backends import BackendName, Precision, check_precision, load_backend
from fakescan.backends.graphs import find_graph, graph_metadata, graph_path, read_metadata
from fakescan.records import FakescanError
from fakescan.weights import load_card

CROPS = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with their graph beside them."""
    from fakescan.backends.conversion import export_graph

    weights = save_tiny_model(tmp_path_factory.mktemp("exported"))
    export_graph(weights, None, Precision.FP32)
    return weights


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_has_nvidia_gpu", lambda: False)


def allow(weights: Path, **changed: float) -> Path:
    """Record in the card what faster arithmetic changes."""
    path = weights.with_suffix(".json")
    document = json.loads(path.read_text("utf-8"))
    document["metrics"]["verdicts_changed"] = changed
    path.write_text(json.dumps(document), "utf-8")
    return weights


# One answer, whatever the runtime


@pytest.mark.parametrize("name", [BackendName.ONNX, BackendName.OPENVINO])
def test_runtimes_agree_with_torch(exported: Path, name: BackendName) -> None:
    pytest.importorskip("onnxruntime" if name == BackendName.ONNX else "openvino")
    wanted = load_backend(exported, backend=BackendName.TORCH, device="cpu").logits(CROPS)
    found = load_backend(exported, backend=name)
    assert (found.name, found.precision, found.device) == (name, "fp32", "cpu")
    assert found.card == load_card(exported)
    logits = found.logits(CROPS)
    assert logits.dtype == np.float32
    assert np.abs(logits - wanted).max() <= 1e-3
    single = np.concatenate([found.logits(CROPS[at : at + 1]) for at in range(len(CROPS))])
    assert np.abs(single - wanted).max() <= 1e-3
    # Results are the caller's own: a later batch leaves them alone.
    before = logits.copy()
    found.logits(255 - CROPS)
    assert (logits == before).all()


def test_a_scan_through_a_graph_loads_no_torch(exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "a.png").write_bytes(noisy())
    program = (
        "import sys\n"
        "from fakescan.pipeline import ScanOptions, scan\n"
        "weights, backend, picture = sys.argv[1:]\n"
        "options = ScanOptions(models=(weights,), backend=backend, device='cpu')\n"
        "finding, = scan([picture], options)\n"
        "print(finding.measurement.outputs[0].backend)\n"
        "print(sorted({'torch', 'torchvision', 'onnx', 'openvino'} & set(sys.modules)))\n"
    )
    for name in ("onnx", "auto"):
        command = [sys.executable, "-c", program, exported, name, tmp_path / "a.png"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split("\n")[:2] == ["onnx", "[]"]


# Which runtime


def test_auto_takes_the_graph_that_lies_there(exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert load_backend(exported).name == "onnx"
    assert load_backend(exported, device="cpu", precision=Precision.FP32).name == "onnx"
    assert load_backend(save_tiny_model(tmp_path)).name == "torch"


def test_auto_is_torch_without_a_runtime_for_graphs(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda module: None)
    assert load_backend(exported).name == "torch"


def test_auto_on_a_gpu_without_tensorrt_says_so_and_takes_torch(
    exported: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "_has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(backends, "find_spec", lambda module: None)
    assert load_backend(exported).name == "torch"
    (record,) = caplog.records
    assert record.getMessage().endswith("torch runs the network instead")
    assert ".[tensorrt]" in record.getMessage()


def test_of_a_missing_gpu_only_that_is_said(
    exported: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(FakescanError, match="--device cuda:7: torch has no such device"):
        load_backend(exported, device="cuda:7")
    assert not caplog.records


@pytest.mark.parametrize("name", [BackendName.ONNX, BackendName.OPENVINO, BackendName.TENSORRT])
def test_a_runtime_that_is_not_installed_is_named(
    exported: Path, name: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda module: None)
    with pytest.raises(FakescanError, match=rf"pip install '\.\[{name}\]'"):
        load_backend(exported, backend=name)


def test_the_command_line_exits_with_2(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "find_spec", lambda module: None)
    arguments = ("scan", tmp_path, "--model", exported, "--no-store")
    outcome = run(*arguments, "--backend", "tensorrt")
    assert outcome.code == 2
    assert outcome.stderr.count("\n") == 1


def test_graphs_run_on_the_cpu_alone(exported: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(FakescanError, match="--device cuda: the onnx backend runs on the CPU"):
        load_backend(exported, backend=BackendName.ONNX, device="cuda")


# Precision


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8])
@pytest.mark.parametrize("name", [BackendName.TORCH, BackendName.ONNX, BackendName.AUTO])
def test_precisions_that_nobody_measured_are_refused(
    exported: Path, name: BackendName, precision: Precision
) -> None:
    if name == BackendName.ONNX:
        pytest.importorskip("onnxruntime")
    with pytest.raises(FakescanError, match="nobody has measured how many verdicts"):
        load_backend(exported, backend=name, precision=precision)


@pytest.mark.parametrize(
    ("record", "refusal"),
    [
        ({"bf16": 0.0051}, "changes 0.51% of the verdicts"),
        ({"bf16": float("nan")}, "of the verdicts"),
        ({"bf16": None}, "nobody"),
        ({"int8": 0.0}, "nobody"),
        ([], "nobody"),
        ({"bf16": 0.005}, None),
        ({"bf16": 0}, None),
    ],
)
def test_the_card_decides_on_precision(record: Any, refusal: str | None) -> None:
    card = replace(CARD, metrics={"verdicts_changed": record})
    check_precision(card, Precision.FP16)
    if refusal is None:
        check_precision(card, Precision.BF16)
    else:
        with pytest.raises(FakescanError, match=refusal):
            check_precision(card, Precision.BF16)


@pytest.mark.parametrize("name", [BackendName.TORCH, BackendName.OPENVINO])
def test_bf16_is_near_fp32_where_the_card_allows_it(tmp_path: Path, name: BackendName) -> None:
    if name == BackendName.OPENVINO:
        pytest.importorskip("openvino")
    weights = allow(save_tiny_model(tmp_path), bf16=0.001)
    wanted = load_backend(weights, backend=BackendName.TORCH, device="cpu").logits(CROPS)
    found = load_backend(weights, backend=name, device="cpu", precision=Precision.BF16)
    assert found.precision == "bf16"
    assert np.abs(found.logits(CROPS) - wanted).max() < 0.05


def test_what_a_runtime_cannot_compute_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(FakescanError, match="the torch backend computes fp32 or bf16 on a CPU"):
        load_backend(exported, backend=BackendName.TORCH, device="cpu", precision=Precision.FP16)
    pytest.importorskip("onnxruntime")
    weights = allow(save_tiny_model(tmp_path), int8=0.001)
    with pytest.raises(FakescanError, match="the onnx backend computes fp32 or int8"):
        load_backend(weights, backend=BackendName.ONNX, precision=Precision.FP16)


# Whose graph it is


def test_the_graphs_that_come_along_belong_to_their_weights() -> None:
    graphs = sorted((Path(__file__).parent.parent / "weights").glob("*.onnx"))
    assert graphs
    for graph in graphs:
        name, *faster = graph.name.removesuffix(".onnx").split(".")
        precision = Precision(faster[0]) if faster else Precision.FP32
        weights = graph.with_name(f"{name}.safetensors")
        assert find_graph(weights, load_card(weights), precision) == graph


def test_a_missing_graph_is_made_once_and_kept(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    weights = save_tiny_model(tmp_path)
    card = load_card(weights)
    assert find_graph(weights, card, Precision.FP32) is None
    load_backend(weights, backend=BackendName.ONNX)
    kept = find_graph(weights, card, Precision.FP32)
    assert kept is not None
    assert kept.parent != weights.parent
    written = kept.stat().st_mtime_ns
    load_backend(weights, backend=BackendName.ONNX)
    assert kept.stat().st_mtime_ns == written
    # A graph that no longer loads is named, so that it can be deleted.
    kept.write_bytes(kept.read_bytes().replace(b"Conv", b"Vonc"))
    with pytest.raises(FakescanError, match=f"{kept}: ONNX Runtime can't load it; delete it"):
        load_backend(weights, backend=BackendName.ONNX)


def test_a_graph_of_other_weights_is_refused(exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    other = replace(CARD, architecture=replace(CARD.architecture, options={"filters": 2}))
    weights = save_tiny_model(tmp_path, other)
    stale = graph_path(weights, Precision.FP32)
    stale.write_bytes(graph_path(exported, Precision.FP32).read_bytes())
    with pytest.raises(FakescanError, match=r"was made from weights .*fakescan export --model"):
        load_backend(weights, backend=BackendName.ONNX)
    assert load_backend(weights).name == "torch"


def test_a_graph_with_another_card_built_in_is_refused(exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    mirrored = replace(CARD, input=replace(CARD.input, mirror=True))
    weights = save_tiny_model(tmp_path, mirrored)
    assert load_card(weights).sha256 == load_card(exported).sha256
    stale = graph_path(weights, Precision.FP32)
    stale.write_bytes(graph_path(exported, Precision.FP32).read_bytes())
    with pytest.raises(FakescanError, match="was made from another card"):
        load_backend(weights, backend=BackendName.ONNX)


def test_without_torchs_exporter_a_missing_graph_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "fakescan.backends.conversion", raising=False)
    with pytest.raises(FakescanError, match=r"needs onnx: pip install '\.\[onnx\]'"):
        load_backend(save_tiny_model(tmp_path), backend=BackendName.ONNX)


def test_metadata_is_what_onnx_itself_reads(exported: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = graph_path(exported, Precision.FP32)
    properties = {entry.key: entry.value for entry in onnx.load(graph).metadata_props}
    assert read_metadata(graph) == properties
    assert properties == graph_metadata(load_card(exported), Precision.FP32)


def test_metadata_of_no_graph_is_empty(exported: Path, tmp_path: Path) -> None:
    whole = graph_path(exported, Precision.FP32).read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "broken.onnx"
    for length in (0, 1, len(whole) - 1, len(whole) - 70):
        path.write_bytes(whole[:length])
        read_metadata(path)
    for _ in range(300):
        path.write_bytes(random.bytes(int(random.integers(1, 200))))
        read_metadata(path)
    path.write_bytes(b"\xff" * 100)
    assert read_metadata(path) == {}


# GPUs, as far as they can be played here


def test_fixed_batches_pad_capture_and_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from fakescan.backends.cuda import LARGEST_BATCH, FixedBatches

    cuda = patch_cuda(monkeypatch)
    sizes = []

    def prepare(crops: torch.Tensor, logits: torch.Tensor) -> Any:
        def launch() -> None:
            sizes.append(len(crops))
            logits.copy_(crops.float().mean((1, 2, 3)))

        return launch

    batches = FixedBatches(torch.device("cpu"), 4, prepare)
    random = np.random.default_rng(0)
    for count in (1, 5, 8, 9, 64, 64, 64, 3, LARGEST_BATCH + 9, 0):
        crops = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
        logits = batches.logits(crops)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, crops.mean((1, 2, 3)), rtol=1e-5)
    assert set(sizes) == {8, 16, 64, 256}
    assert cuda.captures == 3  # of 8, 16 and 64; 256 was used but once
    assert cuda.replays == 6


def test_a_size_that_ran_out_of_memory_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from fakescan.backends.cuda import FixedBatches

    cuda = patch_cuda(monkeypatch)
    failing = {"prepare"}

    def prepare(crops: torch.Tensor, logits: torch.Tensor) -> Any:
        if "prepare" in failing:
            raise MemoryError

        def launch() -> None:
            if "launch" in failing:
                raise MemoryError
            logits.fill_(7)

        return launch

    batches = FixedBatches(torch.device("cpu"), 4, prepare)
    crops = np.zeros((3, 4, 4, 3), dtype=np.uint8)
    for stage in ("prepare", "launch"):
        failing = {stage}
        with pytest.raises(MemoryError):
            batches.logits(crops)
    failing = set()
    for _ in range(3):
        assert batches.logits(crops).tolist() == [7, 7, 7]
    assert (cuda.captures, cuda.replays) == (1, 2)


@pytest.mark.parametrize("runtime", [BackendName.TORCH, BackendName.ONNX, BackendName.OPENVINO])
def test_threads_that_share_a_backend_get_their_own_logits(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, runtime: BackendName
) -> None:
    if runtime is BackendName.TORCH:
        from fakescan.backends.cuda import FixedBatches
        from fakescan.backends.torch import TorchBackend

        patch_cuda(monkeypatch)
        backend: Any = TorchBackend(tiny_model, "cpu", None)
        backend._batches = FixedBatches(backend._device, 32, backend._prepare)
    else:
        pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
        from fakescan.backends.conversion import export_graph

        export_graph(tiny_model, None, Precision.FP32)
        backend = load_backend(tiny_model, backend=runtime, device="cpu")
    shown = [np.full((8, 32, 32, 3), level, np.uint8) for level in (0, 90, 255)]
    wanted = [backend.logits(crops) for crops in shown]
    assert len({round(float(logits[0]), 4) for logits in wanted}) == 3

    def ask(number: int) -> bool:
        return all(
            np.allclose(backend.logits(shown[number]), wanted[number], atol=1e-4)
            for _ in range(100)
        )

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(ask, range(3))) == [True] * 3


@pytest.mark.parametrize("name", ["Fail", "RuntimeException"])
def test_what_onnx_runtime_says_of_memory_is_a_memory_error(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    from fakescan.backends.conversion import export_graph

    export_graph(tiny_model, None, Precision.FP32)
    backend = load_backend(tiny_model, backend=BackendName.ONNX, device="cpu")
    said = ["Failed to allocate memory for requested buffer of size 9", "something else"]

    def fail(*arguments: object) -> None:
        raise getattr(errors, name)(said.pop(0))

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fail)
    with pytest.raises(MemoryError):
        backend.logits(CROPS)
    with pytest.raises(getattr(errors, name)):
        backend.logits(CROPS)


def test_torch_on_a_gpu_gives_what_the_cpu_gives(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fakescan.backends.cuda import FixedBatches
    from fakescan.backends.torch import TorchBackend

    patch_cuda(monkeypatch)
    backend = TorchBackend(tiny_model, "cpu", None)
    wanted = backend.logits(CROPS)
    backend._batches = FixedBatches(backend._device, 32, backend._prepare)
    for count in (11, 11, 3, 1):
        assert np.abs(backend.logits(CROPS[:count]) - wanted[:count]).max() <= 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "largest"), [(None, 2e-2), (Precision.FP32, 1e-3)])
def test_torch_on_a_true_gpu(tiny_model: Path, precision: Precision | None, largest: float) -> None:
    wanted = load_backend(tiny_model, backend=BackendName.TORCH, device="cpu").logits(CROPS)
    backend = load_backend(
        tiny_model, backend=BackendName.TORCH, device="cuda", precision=precision
    )
    assert backend.precision == (precision or "fp16")
    for count in (11, 11, 11, 3, 1):  # plain, captured, replayed, padded
        assert np.abs(backend.logits(CROPS[:count]) - wanted[:count]).max() <= largest
