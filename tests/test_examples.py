from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from conftest import CHECKOUT, FakeBackend, declared_ai, noisy, png_bomb

from fakescan import ScanOptions

pytest.importorskip("pandas")
sys.path.insert(0, str(CHECKOUT / "examples"))

import pandas_frame
import web_handler


def test_a_frame_of_a_folder(
    tmp_path: Path,
    fake_backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.png").write_bytes(declared_ai())
    (tmp_path / "b.png").write_bytes(noisy())
    (tmp_path / "c.png").write_bytes(b"")
    frame = pandas_frame.scan_to_frame(str(tmp_path))
    assert frame["verdict"].tolist()[0] == "ai"
    assert frame["status"].tolist() == ["ok", "ok", "empty"]
    monkeypatch.setattr(sys, "argv", ["pandas_frame.py", str(tmp_path)])
    pandas_frame.main()
    printed = capsys.readouterr().out
    assert "Stable Diffusion" in printed
    assert "1 of 3 files could not be read" in printed


def post(application: Any, body: bytes, **environment: str) -> tuple[str, dict[str, Any]]:
    request: dict[str, Any] = {"QUERY_STRING": ""}
    setup_testing_defaults(request)
    request |= {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), **environment}
    request["wsgi.input"] = io.BytesIO(body)
    told: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        told.append(status)

    answer = application(request, start_response)
    data = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    return told[0][:3], json.loads(data)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(web_handler, "load_detectors", lambda options: (FakeBackend(),))
    options = ScanOptions(workers=1, max_pixels=10_000, isolate=True)
    return validator(web_handler.make_application(options, max_bytes=200_000))


def test_an_uploads_record(application: Any) -> None:
    status, record = post(application, declared_ai())
    assert status == "200"
    assert record["verdict"] == "ai"
    assert record["generator"].startswith("Stable Diffusion")
    assert "path" not in record


def test_uploads_are_limited(application: Any) -> None:
    assert post(application, b"")[0] == "413"
    assert post(application, bytes(200_001))[0] == "413"
    assert post(application, b"x", CONTENT_LENGTH="")[0] == "411"
    assert post(application, b"x", CONTENT_LENGTH="9")[0] == "400"
    assert post(application, b"", REQUEST_METHOD="GET", CONTENT_LENGTH="")[0] == "405"
    assert post(application, b"junk")[1]["status"] == "not_an_image"
    assert post(application, png_bomb(500))[1]["status"] == "too_large"
