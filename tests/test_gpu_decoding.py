"""JPEGs decoded on a GPU: a file at a time, and by the CPU where that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import FakeBackend, encode, plain, run
from PIL import Image

from fakescan.backends import nvjpeg
from fakescan.pipeline import ScanOptions, load_jpeg_decoder, scan
from fakescan.records import DecoderName, FakescanError, Status

GPU = ScanOptions(decode=DecoderName.GPU, device="cuda")


class FakeNvJpeg:
    """torchvision's decoder, on the CPU, but for pictures 48 pixels wide."""

    def __init__(self) -> None:
        self.devices: list[str] = []

    def decode_jpeg(self, data: torch.Tensor, mode: Any, device: torch.device) -> torch.Tensor:
        self.devices.append(device.type)
        decoded = torchvision.io.decode_jpeg(data, mode)
        assert isinstance(decoded, torch.Tensor)
        if decoded.shape[2] == 48:
            raise RuntimeError("nvjpegDecode failed: 2")
        if decoded.shape[2] == 40:
            return decoded[:, :8]
        return decoded


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeNvJpeg:
    fake = FakeNvJpeg()
    monkeypatch.setattr(nvjpeg, "decode_jpeg", fake.decode_jpeg)
    monkeypatch.setattr(nvjpeg, "pick_device", torch.device)
    return fake


def test_a_scan_decodes_on_the_gpu_and_falls_back(gpu: FakeNvJpeg, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name, width in (("a", 64), ("failed", 48), ("short", 40)):
        picture = Image.fromarray(noise[:, :width])
        (tmp_path / f"{name}.jpg").write_bytes(encode(picture, ".jpg", quality=80))
    (tmp_path / "b.png").write_bytes(plain())
    (tmp_path / "broken.jpg").write_bytes(encode(Image.fromarray(noise), ".jpg")[:900])
    detectors = [FakeBackend()]
    on_cpu = list(scan([tmp_path], detectors=detectors))
    on_gpu = list(scan([tmp_path], GPU, detectors=detectors))
    assert gpu.devices and set(gpu.devices) == {"cuda"}
    assert [one.status for one in on_gpu] == [one.status for one in on_cpu]
    assert sum(one.status == Status.OK for one in on_gpu) == 4
    assert [one.score for one in on_gpu] == [one.score for one in on_cpu]


def test_what_was_decoded_otherwise_is_measured_again(gpu: FakeNvJpeg, tmp_path: Path) -> None:
    from fakescan.store import Store

    picture = tmp_path / "a.jpg"
    picture.write_bytes(plain(size=(64, 64), suffix=".jpg"))
    detector = FakeBackend()
    with Store(tmp_path / "store") as store:
        for options in (ScanOptions(), GPU, GPU):
            list(scan([picture], options, store=store, detectors=[detector]))
    assert len(detector.batches) == 2


def test_decoding_on_a_gpu_needs_one() -> None:
    with pytest.raises(FakescanError, match="--decode gpu needs an NVIDIA GPU"):
        load_jpeg_decoder(ScanOptions(decode=DecoderName.GPU, device="cpu"))
    outcome = run("scan", "tests/pictures", "--decode", "gpu", "--device", "cpu")
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)


def test_isolated_processes_have_no_gpu() -> None:
    with pytest.raises(FakescanError, match="exclude each other"):
        load_jpeg_decoder(ScanOptions(decode=DecoderName.GPU, isolate=True))


@pytest.mark.gpu
def test_nvjpeg_is_near_libjpeg(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(480), np.arange(640))[:, :, None] // 5 + [0, 10, 20]
    picture = tmp_path / "ramp.jpg"
    picture.write_bytes(encode(Image.fromarray(ramp.astype(np.uint8)), ".jpg", quality=90))
    decode = load_jpeg_decoder(GPU)
    assert decode is not None
    found = decode(picture.read_bytes(), 480, 640)
    assert found is not None
    difference = found.astype(int) - np.asarray(Image.open(picture))
    assert np.abs(difference).mean() < 2
