"""The network as an ONNX graph: where it lies, and whose it is. Needs no runtime to tell."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import BinaryIO

import platformdirs

from fakescan.backends import Precision
from fakescan.hub import LocatedModel
from fakescan.records import FakescanError, how_to_install
from fakescan.weights import ModelCard

INPUT_NAME, OUTPUT_NAME = "crops", "logits"
"""uint8 (N, S, S, 3), N free, or a published model's float32 (N, 3, H, W); float32 (N,)."""

_WEIGHTS_KEY = "fakescan.weights_sha256"
_CONTENT_KEY = "fakescan.content"

_GRAPH_VERSION = 1
"""Raised when what `model.Detector` computes from the same weights and card changes."""

# onnx.proto: ModelProto.metadata_props is field 14, a StringStringEntryProto (key = 1, value = 2).
_METADATA_FIELD = 14
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def graph_metadata(card: ModelCard, precision: Precision) -> dict[str, str]:
    """What a graph of this model holds as `metadata_props`: the weights, and what was built in."""
    given = dataclasses.asdict(card.input)
    content = {
        "version": _GRAPH_VERSION,
        "architecture": dataclasses.asdict(card.architecture),
        # Graphs from before there was an option are still good where it isn't taken.
        "input": {name: value for name, value in given.items() if value is not None},
        "precision": precision.value,
    }
    if card.labels is not None:
        content["labels"] = dataclasses.asdict(card.labels)
    return {_WEIGHTS_KEY: card.sha256, _CONTENT_KEY: json.dumps(content, sort_keys=True)}


def graph_path(weights: Path, precision: Precision) -> Path:
    """Where the graph of `weights` is looked for first: NAME.onnx, or NAME.fp16.onnx, beside."""
    suffix = ".onnx" if precision == Precision.FP32 else f".{precision}.onnx"
    return weights.with_suffix(suffix)


def cache_folder() -> Path:
    """Where graphs and engines made on first use are kept."""
    return Path(platformdirs.user_cache_dir("fakescan", appauthor=False)) / "backends"


def graph_places(model: LocatedModel, card: ModelCard, precision: Precision) -> list[Path]:
    """Where the graph may lie: beside our own weights, and in the cache.

    Beside a published model others may have put graphs of theirs.
    """
    beside = [graph_path(model, precision)] if isinstance(model, Path) else []
    return [*beside, cache_folder() / f"{card.sha256}.{precision}.onnx"]


def find_graph(model: LocatedModel, card: ModelCard, precision: Precision) -> Path | None:
    """The graph made from exactly these weights: beside them, or in the cache; None for neither."""
    wanted = graph_metadata(card, precision)
    for path in graph_places(model, card, precision):
        if path.is_file() and wanted.items() <= read_metadata(path).items():
            return path
    return None


def require_graph(model: LocatedModel, card: ModelCard, precision: Precision) -> Path:
    """As `find_graph`, but made on first use and kept in the cache.

    Raises FakescanError where a graph lies beside the weights that was made from others, or where
    it can't be made: one in int8 needs pictures.
    """
    found = find_graph(model, card, precision)
    if found is not None:
        return found
    *beside, cached = graph_places(model, card, precision)
    if precision == Precision.INT8:
        raise FakescanError(
            f"model {card.name} has no int8 graph of these weights; make it:"
            f" fakescan export --model {model} --precision int8 --data PICTURES"
        )
    for path in beside:
        if path.is_file():
            recorded = read_metadata(path).get(_WEIGHTS_KEY)
            other = recorded and recorded != card.sha256
            of = f"weights {recorded[:12]}…" if recorded and other else "another card"
            raise FakescanError(
                f"{path} was made from {of}; make it again: fakescan export --model {model}"
            )
    try:
        from fakescan.backends.conversion import export_graph
    except ImportError as error:
        raise FakescanError(
            f"the graph of model {card.name} is missing, and making it needs {error.name}:"
            f" {how_to_install('onnx')}, or fakescan export elsewhere"
        ) from error
    return export_graph(model, cached, precision).path


def read_metadata(path: Path) -> dict[str, str]:
    """A graph's `metadata_props`; empty where the file is none. The weights in it are not read."""
    with path.open("rb") as file:
        try:
            return _read_metadata(file)
        except (EOFError, UnicodeDecodeError):
            return {}


def _read_metadata(file: BinaryIO) -> dict[str, str]:
    properties: dict[str, str] = {}
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    while (first := file.read(1)) != b"":
        field, kind = divmod(_read_varint(file, first), 8)
        if kind == _VARINT:
            _read_varint(file, file.read(1))
        elif kind == _LENGTH:
            length = _read_varint(file, file.read(1))
            if length > size:
                raise EOFError
            if field != _METADATA_FIELD:
                file.seek(length, io.SEEK_CUR)
                continue
            key, value = _read_entry(file.read(length))
            properties[key] = value
        elif kind in {_FIXED32, _FIXED64}:
            file.seek(4 if kind == _FIXED32 else 8, io.SEEK_CUR)
        else:
            raise EOFError
    return properties


def _read_entry(entry: bytes) -> tuple[str, str]:
    strings = {1: "", 2: ""}
    stream = io.BytesIO(entry)
    while (first := stream.read(1)) != b"":
        field = _read_varint(stream, first) // 8
        strings[field] = stream.read(_read_varint(stream, stream.read(1))).decode()
    return strings[1], strings[2]


def _read_varint(file: BinaryIO, first: bytes) -> int:
    """Seven bits a byte, the lowest first, the top bit set in all bytes but the last."""
    value, shift, byte = 0, 0, first
    while byte and shift < 64:
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
        byte = file.read(1)
    raise EOFError
