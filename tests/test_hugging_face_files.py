"""hf:// against a few answers of the hub, imitated on the loopback."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import noisy
from loopback import LoopbackServer, serve

from fakescan.images import read_bytes
from fakescan.sources import SourceFinder

pytest.importorskip("fsspec")
constants = pytest.importorskip("huggingface_hub.constants")

FILES = {"a.png": noisy(1), "in/b.png": noisy(2), "in/notes.txt": b"none", "README.md": b"#"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    import fsspec

    if constants.HF_HUB_OFFLINE:
        pytest.skip("HF_HUB_OFFLINE is set")
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)

    def answer_json(value: object) -> Any:
        return lambda handler: handler.file(json.dumps(value).encode())

    def listing(folder: str) -> list[dict[str, object]]:
        files = [
            {"type": "file", "path": name, "size": len(data), "oid": f"{len(data):040}"}
            for name, data in FILES.items()
            if name.rpartition("/")[0] == folder
        ]
        return files + [{"type": "directory", "path": "in", "oid": "0" * 40}] * (not folder)

    with serve() as server:
        repository = {"id": "user/set", "sha": "0" * 40, "siblings": [], "tags": []}
        server.answers["/api/datasets/user/set"] = answer_json(repository)
        server.answers["/api/datasets/user/set/revision/main"] = answer_json(repository)
        for folder in ("", "in"):
            path = f"/api/datasets/user/set/tree/main/{folder}".rstrip("/")
            server.answers[path] = answer_json(listing(folder))
        for name, data in FILES.items():
            server.answers[f"/datasets/user/set/resolve/main/{name}"] = data
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": server.url})
        yield server


def test_a_set_of_pictures(hub: LoopbackServer) -> None:
    finder = SourceFinder(["hf://datasets/user/set"], remote_seconds=5)
    found = list(finder)
    assert [(source.path, read_bytes(source)) for source in found] == [
        ("hf://datasets/user/set/a.png", FILES["a.png"]),
        ("hf://datasets/user/set/in/b.png", FILES["in/b.png"]),
    ]
    assert finder.other_files == 2
    assert all(source.identity() for source in found)
    (one,) = SourceFinder(["hf://datasets/user/set/in/b.png"], remote_seconds=5)
    assert read_bytes(one.resolve()) == FILES["in/b.png"]
