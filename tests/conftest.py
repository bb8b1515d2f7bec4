"""What tests share: pictures of every format, a backend without a network, and two ways to run."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fakescan
from fakescan.weights import (
    Architecture,
    Calibration,
    Domain,
    Input,
    ModelCard,
    Threshold,
    Thresholds,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from fakescan.records import UInt8Array

CHECKOUT = Path(fakescan.__file__).parents[1]

HEAVY_MODULES = (
    *("torch", "torchvision", "numpy", "PIL", "matplotlib"),
    *("c2pa", "ray", "tensorrt", "onnxruntime"),
    *("fsspec", "aiohttp", "s3fs", "yarl"),
)

CARD = ModelCard(
    name="brightness",
    version="1.0.0",
    sha256="b7" * 32,
    architecture=Architecture("cnn", {"filters": 4, "layers": 1, "dense": (8,)}),
    input=Input(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    domain=Domain(32, 256, "pictures of tests"),
    pooling="mean",
    calibration=Calibration(slope=1.0, intercept=0.0, n=2000),
    thresholds=Thresholds(
        ai=(
            Threshold(0.005, 0.95, 1000),
            Threshold(0.01, 0.9, 1000),
            Threshold(0.05, 0.6, 1000),
        ),
        real=Threshold(0.05, 0.2, 1000),
    ),
    license="Apache-2.0",
    training={"data": "none"},
    metrics={},
    limits=("Knows nothing but brightness.",),
)

BRIGHT, GREY, DARK = 250, 130, 5
"""Levels that `FakeBackend` calls AI, uncertain and real."""


@dataclass(eq=False)
class FakeBackend:
    """A model whose logit grows with the mean of a crop: exact, whatever the batch."""

    card: ModelCard = CARD
    name: str = "fake"
    precision: str = "fp32"
    batches: list[int] = field(default_factory=list)

    def logits(self, crops: UInt8Array) -> npt.NDArray[np.float32]:
        import numpy as np

        assert crops.dtype == np.uint8
        assert crops.shape[1:] == (self.card.input.size, self.card.input.size, 3)
        self.batches.append(len(crops))
        return ((crops.mean(axis=(1, 2, 3)) - 127.5) / 16).astype(np.float32)


# Pictures

SUFFIXES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tiff": "image/tiff",
    ".avif": "image/avif",
    ".heic": "image/heic",
}

_PILLOW_NAMES = {".jpg": "JPEG", ".tiff": "TIFF"}


def encode(image: Image.Image, suffix: str, **options: Any) -> bytes:
    """A Pillow image as the bytes of a file with this suffix."""
    stream = io.BytesIO()
    if suffix == ".heic":
        # Not through Pillow: registering the plug-in would outlive the test.
        from pillow_heif import from_pillow

        from_pillow(image).save(stream, **options)
    else:
        image.save(stream, _PILLOW_NAMES.get(suffix, suffix[1:].upper()), **options)
    return stream.getvalue()


def plain(
    level: int = GREY, size: tuple[int, int] = (32, 32), suffix: str = ".png", **options: Any
) -> bytes:
    """A picture of one grey level."""
    from PIL import Image

    return encode(Image.new("RGB", size, (level, level, level)), suffix, **options)


def noisy(seed: int = 0, size: tuple[int, int] = (32, 32), suffix: str = ".png") -> bytes:
    """A picture of noise around a random level, another for each seed."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(seed)
    base = int(random.integers(30, 226))
    pixels = random.integers(base - 30, base + 30, (size[1], size[0], 3), dtype=np.uint8)
    return encode(Image.fromarray(pixels), suffix)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """One chunk, with its length and checksum."""
    return b"".join(
        (len(body).to_bytes(4, "big"), name, body, zlib.crc32(name + body).to_bytes(4, "big"))
    )


def png_with_chunks(*chunks: bytes, level: int = GREY) -> bytes:
    """A 32 px PNG with these chunks between its header and its pixels."""
    whole = plain(level)
    return b"".join((whole[:33], *chunks, whole[33:]))


def png_with_text(keyword: str, text: str, *, level: int = GREY) -> bytes:
    """A 32 px PNG with a text chunk."""
    body = keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
    return png_with_chunks(png_chunk(b"tEXt", body), level=level)


AI_PARAMETERS = "a harbour\nSteps: 28, Sampler: DPM++ 2M, CFG scale: 7, Seed: 1, Size: 512x512"


def declared_ai(level: int = GREY) -> bytes:
    """A PNG that says of itself that Stable Diffusion made it."""
    return png_with_text("parameters", AI_PARAMETERS, level=level)


def png_bomb(side: int = 30_000) -> bytes:
    """A valid black PNG of `side` pixels square, a few kilobytes long."""
    header = side.to_bytes(4, "big") * 2 + b"\x01\x00\x00\x00\x00"  # one bit of grey
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    rows = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", rows), png_chunk(b"IEND", b""))
    return b"".join((b"\x89PNG\r\n\x1a\n", *chunks))


# Environment


@pytest.fixture(autouse=True)
def _home(
    tmp_path_factory: pytest.TempPathFactory,
    matplotlib_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No test sees the user's store, data or models, or an earlier test's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("FAKESCAN_WEIGHTS", str(home / "weights"))
    monkeypatch.setenv("FAKESCAN_MODELS", str(home / "models"))
    monkeypatch.delenv("FAKESCAN_DATA", raising=False)
    # Rich wraps at the terminal's width, and there is none.
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("MPLCONFIGDIR", str(matplotlib_folder))
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))


@pytest.fixture(scope="session")
def matplotlib_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where matplotlib keeps its list of fonts, which takes seconds to make."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture
def test_data() -> Path:
    """The folder of files too big or not ours to ship."""
    named = os.environ.get("FAKESCAN_TEST_DATA")
    if not named:
        pytest.skip("FAKESCAN_TEST_DATA is not set")
    return Path(named)


@pytest.fixture
def fake_backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """The one model that every scan of this test loads."""
    backend = FakeBackend()
    monkeypatch.setattr("fakescan.pipeline.load_detectors", lambda options: (backend,))
    return backend


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """Weights and card of a small network, saved as `train` saves them."""
    return save_tiny_model(tmp_path / "models")


def save_tiny_model(folder: Path, card: ModelCard = CARD) -> Path:
    """An untrained network of `card`'s architecture, always the same."""
    import torch

    from fakescan.model import build_network
    from fakescan.weights import save_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(card.architecture)
    return save_model(folder, replace(card, sha256=""), network.state_dict())


# Running


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line left behind."""

    code: int | str | None
    stdout: str
    stderr: str


def run(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
    """Run the command line in this process."""
    from fakescan.cli import main

    streams = [
        io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="backslashreplace", newline="")
        for data in (stdin, b"", b"")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fakescan", *map(os.fspath, arguments)])
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        interruption = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as ending:
            main()
        signal.signal(signal.SIGINT, interruption)  # which a process that ends ignores
    outputs = []
    for stream in streams[1:]:
        stream.flush()
        stream.seek(0)
        outputs.append(stream.read())
    return Outcome(ending.value.code or 0, *outputs)


Spawn = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Run the command line in a process of its own, which the test's end ends."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "fakescan", *map(os.fspath, arguments)]
        process = subprocess.Popen(command, **{**pipes, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
