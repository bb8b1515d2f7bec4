"""A strict stand-in for TensorRT, generated from tensorrt_surface.json for one major version.

Names, arguments and which attributes can be set are the surface's; anything else is an error. A
call that may fail does, once it is named in `failing`, as the library does: by what it returns.
Engines run the graph that they were built from in ONNX Runtime, on the addresses they were given.
"""

from __future__ import annotations

import ctypes
import enum
import json
import math
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

SURFACE = json.loads(Path(__file__).with_name("tensorrt_surface.json").read_text("utf-8"))

_NO_FAILURE = object()
_TYPES = {"FLOAT": ctypes.c_float, "UINT8": ctypes.c_uint8}


class Double:
    """The module, what was called of it, and what is to fail (`Class.method`)."""

    def __init__(self, version: str) -> None:
        self.surface = SURFACE[version]
        self.called: list[str] = []
        self.failing: set[str] = set()
        self.engine_is_odd = False
        module: Any = ModuleType("tensorrt")
        module.__spec__ = ModuleSpec("tensorrt", None)
        module.__version__ = self.surface["source_version"]
        self.module = module
        for name, described in self.surface["enums"].items():
            kind = enum.IntEnum if described["python_arithmetic"] else enum.Enum
            members = {
                key: order if value is None else value
                for order, (key, value) in enumerate(described["members"].items())
            }
            made: Any = kind(name, members)  # type: ignore[call-overload]
            if described["scope"] == "module":
                setattr(module, name, made)
        for name, described in self.surface["classes"].items():
            bases = tuple(getattr(module, base) for base in described["bases"])
            setattr(module, name, self._make_class(name, bases, described))
        severity = self.surface["enums"]["Severity"]["members"]
        for name, value in severity.items():
            setattr(module.ILogger, name, value)

    @property
    def fallible(self) -> set[str]:
        """What was called that may fail."""
        return {name for name in self.called if self._failure(name) is not _NO_FAILURE}

    def _failure(self, name: str) -> Any:
        owner, method = name.split(".")
        overloads = self.surface["classes"][owner]["methods"][method]
        returns = overloads[0].get("returns", "")
        if method == "__init__":
            return TypeError("factory function returned nullptr")
        if returns.startswith("bool"):
            return False
        if "-1 if" in returns:
            return -1
        if returns.startswith("I") and "None" not in returns:
            # Pointers that the headers allow to be null, whatever the note says.
            return None
        return None if "None on failure" in returns or "or None" in returns else _NO_FAILURE

    def _make_class(self, owner: str, bases: tuple[type, ...], described: dict[str, Any]) -> type:
        members: dict[str, Any] = {}
        for method, overloads in described["methods"].items():
            if method.startswith("__") and method != "__init__":
                continue
            members[method] = self._make_method(owner, method, overloads)
        for name, access in described["properties"].items():
            members[name] = self._make_property(owner, name, access["access"])

        def set_attribute(instance: Any, name: str, value: Any) -> None:
            is_ours = type(instance) is not made  # a subclass may hold what it likes
            if not (is_ours or name.startswith("_") or name in described["properties"]):
                raise AttributeError(f"{owner} has no attribute {name}")
            object.__setattr__(instance, name, value)

        members["__setattr__"] = set_attribute
        if owner == "INetworkDefinition":
            members["__len__"] = lambda network: 0 if network._model is None else 1
        if owner == "IHostMemory":
            members["__buffer__"] = lambda memory, flags: memoryview(memory._data)
            members["__bytes__"] = lambda memory: memory._data
        made = type(owner, bases, members)
        return made

    def _make_method(
        self, owner: str, method: str, overloads: list[dict[str, Any]]
    ) -> Callable[..., Any]:
        def call(instance: Any, *arguments: Any, **named: Any) -> Any:
            bound = _bind(f"{owner}.{method}", overloads, arguments, named)
            name = f"{owner}.{method}"
            self.called.append(name)
            if name in self.failing:
                failure = self._failure(name)
                if isinstance(failure, Exception):
                    raise failure
                return failure
            behaviour = _BEHAVIOURS.get(name)
            if behaviour is None:
                if method == "__init__":
                    return None
                raise NotImplementedError(name)
            return behaviour(self, instance, *bound)

        return call

    def _make_property(self, owner: str, name: str, access: str) -> property:
        def get(instance: Any) -> Any:
            if "r" not in access:
                raise AttributeError(f"{owner}.{name} can't be read")
            return getattr(instance, f"_{name}")

        def put(instance: Any, value: Any) -> None:
            if "w" not in access:
                raise AttributeError(f"{owner}.{name} can't be set")
            object.__setattr__(instance, f"_{name}", value)

        return property(get, put)

    def make(self, owner: str, **private: Any) -> Any:
        """An object of a class that only the library makes."""
        made = object.__new__(getattr(self.module, owner))
        for name, value in private.items():
            object.__setattr__(made, f"_{name}", value)
        return made


def _bind(
    name: str, overloads: list[dict[str, Any]], arguments: tuple[Any, ...], named: dict[str, Any]
) -> list[Any]:
    for overload in overloads:
        wanted = overload["args"]
        free = wanted[len(arguments) :]
        missing = [one for one in free if one["name"] not in named and "default" not in one]
        unknown = set(named) - {one["name"] for one in free}
        if len(arguments) <= len(wanted) and not missing and not unknown:
            return [*arguments, *(named.get(one["name"]) for one in free)]
    raise TypeError(f"{name}{arguments}{named}: incompatible function arguments")


# What the calls do, where they succeed


def _create_network(double: Double, builder: Any, flags: int | None) -> Any:
    is_typed = True
    if double.module.__version__.startswith("10."):
        strong = double.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        is_typed = bool((flags or 0) & 1 << int(strong))
    return double.make("INetworkDefinition", model=None, is_typed=is_typed)


def _create_config(double: Double, builder: Any) -> Any:
    flags = {double.module.BuilderFlag.TF32}
    return double.make(
        "IBuilderConfig", flagged=flags, profile=None, cache=None, progress_monitor=None
    )


def _parser_init(double: Double, parser: Any, network: Any, logger: Any) -> None:
    assert isinstance(logger, double.module.ILogger)
    parser._network = network
    parser._num_errors = 1


def _parse(double: Double, parser: Any, model: bytes, path: str | None) -> bool:
    import onnx

    assert isinstance(model, bytes)
    loaded = onnx.load_model_from_string(model)
    given = {value.name for value in loaded.graph.input}
    takers = {node.op_type for node in loaded.graph.node if given & set(node.input)}
    parser._network._model = model
    return takers == {"Cast"}  # uint8 may enter, but only a cast takes it


def _get_error(double: Double, parser: Any, index: int) -> Any:
    return double.make("ParserError")


def _set_shape(double: Double, profile: Any, name: str, *shapes: tuple[int, ...]) -> None:
    assert all(type(shape) is tuple and min(shape) > 0 for shape in shapes)
    assert all(low <= high for low, high in zip(shapes[0], shapes[2], strict=True))
    profile._shapes = shapes


def _add_profile(double: Double, config: Any, profile: Any) -> int:
    config._profile = profile
    return 0


def _set_pool(double: Double, config: Any, pool: Any, pool_size: int) -> None:
    assert isinstance(pool, double.module.MemoryPoolType)


def _create_cache(double: Double, config: Any, blob: bytes) -> Any:
    return double.make("ITimingCache", blob=blob)


def _set_cache(double: Double, config: Any, cache: Any, ignore_mismatch: bool) -> bool:
    config._cache = cache
    return cache._blob in {b"", b"timings of " + double.module.__version__.encode()}


def _serialize_cache(double: Double, cache: Any) -> Any:
    return double.make("IHostMemory", data=b"timings of " + double.module.__version__.encode())


def _build(double: Double, builder: Any, network: Any, config: Any) -> Any:
    monitor = config._progress_monitor
    monitor.phase_start("Building Engine", None, 2)
    for step in range(2):
        if monitor.step_complete("Building Engine", step) is not True:
            monitor.phase_finish("Building Engine")
            return None
    monitor.phase_finish("Building Engine")
    if not network._is_typed or config._profile is None:
        return None
    header = {
        "version": double.module.__version__,
        "shapes": config._profile._shapes,
        "tf32": double.module.BuilderFlag.TF32 in config._flagged,
    }
    plan = json.dumps(header).encode() + b"\n" + network._model
    return double.make("IHostMemory", data=plan)


def _deserialize(double: Double, runtime: Any, plan: bytes) -> Any:
    import onnxruntime

    first, _, model = plan.partition(b"\n")
    header = json.loads(first)
    if header["version"] != double.module.__version__:
        return None
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return double.make("ICudaEngine", session=session, header=header, num_io_tensors=2)


def _tensor_dtype(double: Double, engine: Any, name: str) -> Any:
    kinds = double.module.DataType
    if name == "crops":
        return kinds.HALF if double.engine_is_odd else kinds.UINT8
    return {"logits": kinds.FLOAT}[name]


def _tensor_mode(double: Double, engine: Any, name: str) -> Any:
    modes = double.module.TensorIOMode
    return {"crops": modes.INPUT, "logits": modes.OUTPUT}[name]


def _context(double: Double, engine: Any, strategy: Any) -> Any:
    return double.make("IExecutionContext", engine=engine, shape=None, addresses={})


def _set_input_shape(double: Double, context: Any, name: str, shape: tuple[int, ...]) -> bool:
    assert type(shape) is tuple
    low, _, high = context._engine._header["shapes"]
    context._shape = shape
    return name == "crops" and all(
        least <= side <= most for least, side, most in zip(low, shape, high, strict=True)
    )


def _context_shape(double: Double, context: Any, name: str) -> tuple[int, ...]:
    return context._shape if name == "crops" else context._shape[:1]


def _set_address(double: Double, context: Any, name: str, memory: int) -> bool:
    assert type(memory) is int
    context._addresses[name] = memory
    return name in {"crops", "logits"}


def _execute(double: Double, context: Any, stream_handle: int) -> bool:
    import numpy as np

    assert type(stream_handle) is int
    assert stream_handle != 0, "the default stream makes TensorRT synchronise"
    shape = context._shape
    source = (ctypes.c_uint8 * math.prod(shape)).from_address(context._addresses["crops"])
    target = (ctypes.c_float * shape[0]).from_address(context._addresses["logits"])
    crops = np.frombuffer(source, np.uint8).reshape(shape)
    (logits,) = context._engine._session.run(["logits"], {"crops": crops})
    np.frombuffer(target, np.float32)[:] = logits
    return True


_BEHAVIOURS: dict[str, Callable[..., Any]] = {
    "Builder.create_network": _create_network,
    "Builder.create_builder_config": _create_config,
    "Builder.create_optimization_profile": lambda double, builder: double.make(
        "IOptimizationProfile"
    ),
    "Builder.build_serialized_network": _build,
    "OnnxParser.__init__": _parser_init,
    "OnnxParser.parse": _parse,
    "OnnxParser.get_error": _get_error,
    "ParserError.desc": lambda double, error: "no such\noperator",
    "IBuilderConfig.set_memory_pool_limit": _set_pool,
    "IBuilderConfig.clear_flag": lambda double, config, flag: config._flagged.discard(flag),
    "IBuilderConfig.add_optimization_profile": _add_profile,
    "IBuilderConfig.create_timing_cache": _create_cache,
    "IBuilderConfig.set_timing_cache": _set_cache,
    "IBuilderConfig.get_timing_cache": lambda double, config: config._cache,
    "ITimingCache.serialize": _serialize_cache,
    "IOptimizationProfile.set_shape": _set_shape,
    "Runtime.deserialize_cuda_engine": _deserialize,
    "ICudaEngine.get_tensor_name": lambda double, engine, index: ("crops", "logits")[index],
    "ICudaEngine.get_tensor_mode": _tensor_mode,
    "ICudaEngine.get_tensor_dtype": _tensor_dtype,
    "ICudaEngine.get_tensor_profile_shape": lambda double, engine, name, index: engine._header[
        "shapes"
    ],
    "ICudaEngine.create_execution_context": _context,
    "IExecutionContext.set_input_shape": _set_input_shape,
    "IExecutionContext.get_tensor_shape": _context_shape,
    "IExecutionContext.set_tensor_address": _set_address,
    "IExecutionContext.execute_async_v3": _execute,
}
