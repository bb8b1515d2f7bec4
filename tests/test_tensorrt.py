from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run, save_tiny_model
from cuda_double import FakeCuda, patch_cuda
from tensorrt_double import Double

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from fakescan import backends
from fakescan.backends import BackendName, Precision, load_backend
from fakescan.backends.cuda import LARGEST_BATCH
from fakescan.backends.graphs import cache_folder
from fakescan.records import FakescanError

CROPS = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)

# A build may do without keeping timings.
TOLERATED = {"IBuilderConfig.get_timing_cache"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with the graphs that TensorRT reads beside them."""
    from fakescan.backends.conversion import export_graph

    weights = save_tiny_model(tmp_path_factory.mktemp("exported"))
    export_graph(weights, None, Precision.FP16)
    export_graph(weights, None, Precision.FP32)
    return weights


@pytest.fixture(params=["10.x", "11.x"])
def double(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Double:
    """TensorRT of either major version, on a GPU that isn't one."""
    return install(request.param, monkeypatch)


def install(version: str, monkeypatch: pytest.MonkeyPatch) -> Double:
    import torch

    double = Double(version)
    monkeypatch.setitem(sys.modules, "tensorrt", double.module)
    monkeypatch.delitem(sys.modules, "fakescan.backends.tensorrt", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Double")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    backend = importlib.import_module("fakescan.backends.tensorrt")
    monkeypatch.setattr(backend, "pick_device", lambda name: torch.device("cpu"))
    return double


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return patch_cuda(monkeypatch)


def load(weights: Path, precision: Precision | None = None) -> Any:
    return load_backend(weights, backend=BackendName.TENSORRT, precision=precision)


# The whole path


@pytest.mark.parametrize(
    ("precision", "largest"), [(None, 2e-2), (Precision.FP16, 2e-2), (Precision.FP32, 1e-3)]
)
def test_logits_are_torchs(
    double: Double, cuda: FakeCuda, exported: Path, precision: Precision | None, largest: float
) -> None:
    wanted = load_backend(exported, backend=BackendName.TORCH, device="cpu").logits(CROPS)
    backend = load(exported, precision)
    assert (backend.name, backend.precision) == ("tensorrt", precision or "fp16")
    for count in (11, 11, 11, 3, 1):  # plain, captured, replayed, padded
        logits = backend.logits(CROPS[:count])
        assert logits.dtype == np.float32
        assert np.abs(logits - wanted[:count]).max() <= largest
    assert cuda.captures == 2
    many = np.repeat(CROPS, 30, axis=0)
    assert len(many) > LARGEST_BATCH
    assert np.abs(backend.logits(many) - np.repeat(wanted, 30)).max() <= largest
    # In fp32 TensorRT would round to TF32 if it were let.
    assert backend._engine._header["tf32"] == (precision != Precision.FP32)


def test_an_engine_is_built_once_for_each_graph_version_and_gpu(
    double: Double, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def builds() -> int:
        return double.called.count("Builder.build_serialized_network")

    load(exported)
    load(exported)
    assert builds() == 1
    load(exported, Precision.FP32)
    assert builds() == 2
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Another")
    load(exported)
    assert builds() == 3
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    load(exported)
    assert builds() == 4
    monkeypatch.setattr(double.module, "__version__", double.module.__version__ + "1")
    load(exported)
    assert builds() == 5
    assert len(list(cache_folder().glob("*.engine"))) == 5
    assert not list(cache_folder().glob("*.tmp"))


def test_a_kept_engine_that_does_not_fit_is_built_again(double: Double, exported: Path) -> None:
    wanted = load(exported).logits(CROPS)
    (kept,) = cache_folder().glob("*.engine")
    whole = kept.read_bytes()
    header, _, plan = whole.partition(b"\n")
    for damaged in (b"", whole[:-1], header + b"\n", b"{}\n" + plan, whole + b"x"):
        kept.write_bytes(damaged)
        assert (load(exported).logits(CROPS) == wanted).all()
        assert kept.read_bytes() == whole
    # One that TensorRT refuses, though it is whole.
    double.called.clear()
    original = double.module.__version__
    from fakescan.backends import engines

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            engines.EngineKey,
            "read_plan",
            lambda key: plan.replace(original.encode(), b"9.0.0.1"),
        )
        load(exported)
    assert "Builder.build_serialized_network" in double.called


def test_timings_of_another_version_are_dropped(double: Double, exported: Path) -> None:
    load(exported)
    (timings,) = cache_folder().glob("*.timing")
    (engine,) = cache_folder().glob("*.engine")
    engine.unlink()
    double.called.clear()
    load(exported)
    assert double.called.count("IBuilderConfig.set_timing_cache") == 1
    engine.unlink()
    timings.write_bytes(b"timings of another GPU")
    double.called.clear()
    load(exported)
    assert double.called.count("IBuilderConfig.set_timing_cache") == 2


def test_a_cache_that_cannot_be_written_only_costs_time(
    double: Double, exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_bytes(b"a file where the folder should be")
    assert load(exported).logits(CROPS).shape == (11,)
    assert all("can't be kept" in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 2


# Failures


def test_every_call_that_may_fail_is_looked_at(double: Double, exported: Path) -> None:
    load(exported).logits(CROPS)
    fallible = double.fallible
    expected = {
        *("Builder.__init__", "Builder.create_network", "Builder.build_serialized_network"),
        *("OnnxParser.__init__", "OnnxParser.parse", "IBuilderConfig.add_optimization_profile"),
        *("Builder.create_builder_config", "Builder.create_optimization_profile"),
        *("IBuilderConfig.create_timing_cache", "IBuilderConfig.set_timing_cache"),
        *("IBuilderConfig.get_timing_cache", "ITimingCache.serialize"),
        *("Runtime.__init__", "Runtime.deserialize_cuda_engine"),
        *("ICudaEngine.create_execution_context", "IExecutionContext.set_input_shape"),
        *("IExecutionContext.set_tensor_address", "IExecutionContext.execute_async_v3"),
    }
    assert expected <= fallible
    for name in sorted(fallible - {"ILogger.__init__", "IProgressMonitor.__init__"}):
        for path in cache_folder().iterdir():
            path.unlink()
        double.failing = {name}
        if name in TOLERATED:
            load(exported).logits(CROPS)
            continue
        with pytest.raises(FakescanError) as raised:
            load(exported).logits(CROPS)
        assert "TensorRT" in str(raised.value), name
        assert "\n" not in str(raised.value)


def test_an_engine_with_other_tensors_is_refused(double: Double, exported: Path) -> None:
    double.engine_is_odd = True
    with pytest.raises(FakescanError, match="building an engine for these windows failed"):
        load(exported)


def test_the_last_error_logged_is_the_reason_given(double: Double, exported: Path) -> None:
    module = sys.modules["fakescan.backends.tensorrt"]
    module._LOGGER.log(double.module.ILogger.ERROR, "out of\nmemory")
    module._LOGGER.log(double.module.ILogger.INFO, "and so on")
    double.failing = {"Builder.build_serialized_network"}
    with pytest.raises(FakescanError, match="building an engine failed: out of memory"):
        load(exported)


@pytest.mark.parametrize(
    ("method", "outcome"),
    [
        ("ICudaEngine.create_execution_context", None),
        ("IExecutionContext.execute_async_v3", False),
    ],
)
def test_too_little_memory_is_a_memory_error(
    double: Double, exported: Path, monkeypatch: pytest.MonkeyPatch, method: str, outcome: object
) -> None:
    module = sys.modules["fakescan.backends.tensorrt"]
    backend = load(exported)
    wanted = backend.logits(CROPS[:1])

    def fail(*arguments: object) -> object:
        module._LOGGER.log(double.module.ILogger.ERROR, "CUDA error 2: Out of memory")
        return outcome

    owner, name = method.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(double.module, owner), name, fail)
        with pytest.raises(MemoryError, match="Out of memory"):
            backend.logits(CROPS)
    # Halved, it fits.
    assert np.abs(backend.logits(CROPS[:1]) - wanted).max() <= 1e-5


def test_an_illegal_access_to_memory_is_no_want_of_it(
    double: Double, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["fakescan.backends.tensorrt"]
    backend = load(exported)

    def fail(*arguments: object) -> bool:
        said = "[defaultAllocator.cpp] Cuda Runtime (an illegal memory access was encountered)"
        module._LOGGER.log(double.module.ILogger.ERROR, said)
        return False

    monkeypatch.setattr(double.module.IExecutionContext, "execute_async_v3", fail)
    with pytest.raises(FakescanError, match="illegal memory access"):
        backend.logits(CROPS)


@pytest.mark.parametrize(
    ("moment", "steps"), [("phase_start", 1), ("step_complete", 1), ("phase_finish", 2)]
)
def test_ctrl_c_ends_a_build(
    double: Double, exported: Path, monkeypatch: pytest.MonkeyPatch, moment: str, steps: int
) -> None:
    monitor = sys.modules["fakescan.backends.tensorrt"]._Progress
    returned = []

    def follow(name: str) -> None:
        method = getattr(monitor, name)

        def call(*arguments: Any) -> Any:
            if name == moment:
                signal.raise_signal(signal.SIGINT)
            outcome = method(*arguments)
            # Only by a value: an exception can't pass through TensorRT.
            returned.append(name)
            return outcome

        monkeypatch.setattr(monitor, name, call)

    for name in ("phase_start", "step_complete", "phase_finish"):
        follow(name)
    with pytest.raises(KeyboardInterrupt):
        load(exported)
    assert returned == ["phase_start", *["step_complete"] * steps, "phase_finish"]
    assert not list(cache_folder().glob("*.engine"))


def test_what_it_cannot_do_is_refused(
    double: Double, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    with pytest.raises(FakescanError, match="--device cpu: TensorRT runs on NVIDIA GPUs"):
        load_backend(exported, backend=BackendName.TENSORRT, device="cpu")
    with pytest.raises(FakescanError, match="nobody has measured"):
        load(exported, Precision.INT8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FakescanError, match="torch finds no NVIDIA GPU"):
        load(exported)


def test_auto_goes_on_with_torch_where_the_engine_fails(
    double: Double,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(backends, "_has_nvidia_gpu", lambda: True)
    monkeypatch.setattr("fakescan.backends.torch.pick_device", lambda name: _cpu())
    assert load_backend(exported).name == "tensorrt"
    double.failing = {"Runtime.deserialize_cuda_engine"}
    assert load_backend(exported).name == "torch"
    (record,) = caplog.records
    assert record.getMessage().endswith("torch runs the network instead")


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def test_a_library_that_does_not_load_is_one_line(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.delitem(sys.modules, "fakescan.backends.tensorrt", raising=False)
    outcome = run("scan", tmp_path, "--no-store", "--model", exported, "--backend", "tensorrt")
    assert outcome.code == 2
    assert "TensorRT doesn't load (libnvinfer.so.11: cannot open)" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


# The double itself: names and arguments that the library lacks must not pass


def test_the_double_refuses_what_the_library_refuses(double: Double) -> None:
    trt = double.module
    logger = trt.Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    config = builder.create_builder_config()
    for name in ("build_engine", "max_batch_size", "max_workspace_size"):
        with pytest.raises(AttributeError):
            getattr(builder, name)
    for name in ("max_workspace_size", "fp16_mode"):
        with pytest.raises(AttributeError):
            setattr(config, name, 1)
    with pytest.raises(AttributeError):
        network.num_inputs = 3
    for arguments, named in (((0, 1), {}), ((), {"flag": 0})):
        with pytest.raises(TypeError):
            builder.create_network(*arguments, **named)
    with pytest.raises(TypeError):
        builder.build_serialized_network(network)
    with pytest.raises(TypeError):
        trt.Builder()
    for name in ("execute_async_v2", "execute_async"):
        assert not hasattr(trt.IExecutionContext, name)
    for name in ("get_binding_name", "num_bindings", "get_binding_shape"):
        assert not hasattr(trt.ICudaEngine, name)
    assert not hasattr(trt, "DEFAULT_PROFILE")


def test_the_double_knows_what_11_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    ten, eleven = Double("10.x").module, Double("11.x").module
    assert hasattr(ten.BuilderFlag, "FP16")
    assert not hasattr(eleven.BuilderFlag, "FP16")
    assert not hasattr(eleven.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    assert int(ten.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 1
    assert int(eleven.NetworkDefinitionCreationFlag.STRONGLY_TYPED) == 0


def test_a_network_of_10_is_strongly_typed_only_where_asked() -> None:
    trt = Double("10.x").module
    builder = trt.Builder(trt.Logger())
    strong = int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert not builder.create_network()._is_typed
    assert builder.create_network(1 << strong)._is_typed


# The true thing


@pytest.mark.gpu
def test_on_a_true_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt")
    monkeypatch.undo()
    weights = save_tiny_model(tmp_path)
    wanted = load_backend(weights, backend=BackendName.TORCH, device="cpu").logits(CROPS)
    for precision, largest in ((Precision.FP16, 2e-2), (Precision.FP32, 1e-3)):
        for _ in range(2):  # built, then kept
            backend = load(weights, precision)
            for count in (11, 11, 11, 3, 1):
                found = backend.logits(CROPS[:count])
                assert np.abs(found - wanted[:count]).max() <= largest
