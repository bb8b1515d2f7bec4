"""How fast a scan is here: decoding alone, the network alone, both, and what limits them."""

from __future__ import annotations

import dataclasses
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from fakescan import __version__, pipeline
from fakescan.backends import Backend, BackendName, Precision
from fakescan.images import decode_image, read_bytes
from fakescan.lookahead import read_ahead
from fakescan.pipeline import ScanOptions
from fakescan.preparation import Prepared, prepare
from fakescan.records import DecodedImage, ExitCode, FakescanError, Source
from fakescan.sources import SourceFinder
from fakescan.weights import Architecture, ArchitectureName, Domain, Input, ModelCard, save_model

if TYPE_CHECKING:
    from torch import Tensor

SIZES = {0.3: (640, 480), 2.0: (1632, 1224), 12.0: (4000, 3000)}
"""Megapixels of the pictures made: a thumbnail on the web, a screen, a camera's file."""

_SAMPLE = 64
"""Pictures whose windows are kept in memory for the network alone."""

_PACKAGES = (
    *("numpy", "onnxruntime", "openvino", "pillow", "simplejpeg"),
    *("tensorrt", "torch", "torchvision", "transformers"),
)

# ImageNet's mean and deviation, the usual ones of a ResNet at 224 px (He et al. 2016).
_INPUT = Input(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_DOMAIN = Domain(_INPUT.size, None, "any picture of 224 px and more")
_ARCHITECTURE = Architecture(ArchitectureName.RESNET50.value, {"wide_stem": True})


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured. Without `folder`, `images` pictures of `megapixels` are made."""

    folder: Path | None = None
    model: str | None = None
    backend: BackendName = BackendName.AUTO
    device: str = "auto"
    precision: Precision | None = None
    images: int = 48
    repeats: int = 3
    megapixels: tuple[float, ...] = tuple(SIZES)
    crops: int = 8
    compare: bool = False


@dataclass(frozen=True, slots=True)
class Rates:
    """Something a second: for decoding alone, the network alone, and the whole scan."""

    decode: float
    inference: float
    scan: float


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured, by the median of the repeats; seconds and MB as named.

    `share_of_limit` holds the scan against the slower of decoding and network on a GPU, and on a
    CPU, where both share the cores, against 1 / (1 / decode + 1 / inference). Start-up is a scan
    of an empty folder, the first finding that of one picture, each in a fresh process.
    """

    images_per_second: Rates
    megabytes_per_second: Rates
    share_of_limit: float
    startup_seconds: float
    first_finding_seconds: float
    peak_memory_mb: float | None
    backend: str
    precision: str
    device: str
    model: str
    crops: int
    images: int
    megapixels: float
    megabytes: float
    repeats: int
    hugging_face_images_per_second: float | None
    ratio_to_hugging_face: float | None
    machine: dict[str, Any]
    versions: dict[str, str]


def run_benchmark(options: BenchOptions) -> Benchmark:
    """Measure a scan on this machine. Raises FakescanError for what can't be measured."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fakescan-bench-")))
        pictures = options.folder
        if pictures is None:
            pictures = folder / "pictures"
            make_pictures(pictures, options.images, options.megapixels)
        sources = [source for source in SourceFinder([str(pictures)]) if source.problem is None]
        if options.folder is not None:
            sources = sources[: options.images]
        if not sources:
            raise FakescanError(f"{pictures}: there is no picture to measure with")
        scan_options = _choose_model(options, sources, folder)
        return _measure(options, scan_options, sources, folder)


def make_pictures(folder: Path, count: int, megapixels: Sequence[float]) -> None:
    """Write `count` JPEGs of these sizes in turn: shapes on a gradient, with a sensor's noise.

    Qualities from 85 to 92, with 4:2:0 and 4:4:4, as cameras and sites write them; about 0.25
    bytes a pixel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    noise = {
        size: random.normal(0, 2.5, (SIZES[size][1], SIZES[size][0], 1)).astype(np.float32)
        for size in sorted(set(megapixels))
    }
    for number in range(count):
        size = megapixels[number % len(megapixels)]
        picture = _draw(random, np.roll(noise[size], random.integers(1, 400, 2), (0, 1)))
        picture.save(
            folder / f"{number:05}.jpg",
            quality=85 + number % 8,
            subsampling=("4:2:0", "4:4:4")[number // len(megapixels) % 2],
        )


def _draw(random: np.random.Generator, noise: np.ndarray[Any, Any]) -> Image.Image:
    height, width, _ = noise.shape
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        center = random.uniform((0, 0), (width, height))
        reach = random.uniform(0.02, 0.2) * width
        color = tuple(int(level) for level in random.integers(0, 256, 3))
        draw.ellipse((*(center - reach), *(center + reach)), fill=color)
    pixels = np.asarray(picture, np.float32) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _choose_model(options: BenchOptions, sources: Sequence[Source], folder: Path) -> ScanOptions:
    """The model asked for, where it judges these pictures; else a ResNet-50 made for them."""
    scan_options = ScanOptions(
        models=(options.model,) if options.model else (),
        backend=options.backend,
        device=options.device,
        precision=options.precision,
        crops=1 if options.compare else options.crops,
    )
    if not options.compare:
        cards = [detector.card for detector in pipeline.load_detectors(scan_options)]
        image = _decode(sources[0])
        if any(card.domain.refuse(image.width, image.height) is None for card in cards):
            return scan_options
    return dataclasses.replace(scan_options, models=(str(_make_model(folder / "models", options)),))


def _make_model(folder: Path, options: BenchOptions) -> Path:
    import torch

    from fakescan.model import build_network

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        tensors = build_network(_ARCHITECTURE).state_dict()
    for name, tensor in tensors.items():
        if name.endswith("bn3.weight"):
            tensor.fill_(0.1)  # untrained residuals grow from block to block, beyond fp16
    card = ModelCard(
        name="resnet50-224-random",
        version="0",
        sha256="",
        architecture=_ARCHITECTURE,
        input=_INPUT,
        domain=_DOMAIN,
        pooling="mean",
        calibration=None,
        thresholds=None,
        license="Apache-2.0",
        training={},
        metrics={},
        limits=("Its weights are random.",),
    )
    weights = save_model(folder, card, tensors)
    if options.backend != BackendName.TORCH:
        try:
            from fakescan.backends.conversion import export_graph
        except ImportError:
            return weights  # then the backend says what it needs, or is torch
        # Beside the weights, so that it goes when they go.
        needed = Precision.FP16 if options.backend == BackendName.TENSORRT else Precision.FP32
        export_graph(weights, None, needed)
    return weights


def _measure(
    options: BenchOptions, scan_options: ScanOptions, sources: Sequence[Source], folder: Path
) -> Benchmark:
    detectors = pipeline.load_detectors(scan_options)
    sample = _sample(sources, detectors, scan_options)
    paths = [source.path for source in sources]
    timed: dict[str, Callable[[], None]] = {
        "decode": lambda: _decode_all(sources, scan_options),
        "inference": lambda: _infer(sample, detectors, scan_options),
        "scan": lambda: _scan(paths, scan_options),
    }
    counts = {"decode": len(sources), "inference": len(sample), "scan": len(sources)}
    if options.compare:
        classify = _load_hugging_face(Path(scan_options.models[0]), detectors[0].device)
        timed["hugging_face"] = lambda: classify(paths)
        counts["hugging_face"] = len(sources)
    rates: dict[str, list[float]] = {name: [] for name in timed}
    for repeat in range(options.repeats + 1):
        for name, task in timed.items():
            start = time.perf_counter()
            task()
            if repeat:  # the first warms caches, clocks and graphs
                rates[name].append(counts[name] / (time.perf_counter() - start))
    median = {name: statistics.median(values) for name, values in rates.items()}
    images = Rates(median["decode"], median["inference"], median["scan"])
    detector = detectors[sample[0].detector]
    megabytes = sum(source.size_bytes or 0 for source in sources) / 1e6
    (folder / "empty").mkdir(exist_ok=True)
    theirs = median.get("hugging_face")
    return Benchmark(
        images_per_second=images,
        megabytes_per_second=Rates(
            *(rate * megabytes / len(sources) for rate in dataclasses.astuple(images))
        ),
        share_of_limit=images.scan / _limit(images, detector.device),
        startup_seconds=_spawn_repeatedly(
            options.repeats, [str(folder / "empty")], scan_options, until_first=False
        ),
        first_finding_seconds=_spawn_repeatedly(
            options.repeats, paths[:1], scan_options, until_first=True
        ),
        peak_memory_mb=_peak_memory(paths, scan_options),
        backend=detector.name,
        precision=detector.precision,
        device=detector.device,
        model=detector.card.name,
        crops=scan_options.crops,
        images=len(sources),
        megapixels=_mean_megapixels(sample),
        megabytes=megabytes,
        repeats=options.repeats,
        hugging_face_images_per_second=theirs,
        ratio_to_hugging_face=None if theirs is None else images.scan / theirs,
        machine=_describe_machine(),
        versions=_list_versions(),
    )


def _limit(rates: Rates, device: str) -> float:
    if device == "cpu":
        return 1 / (1 / rates.decode + 1 / rates.inference)
    return min(rates.decode, rates.inference)


def _decode(source: Source) -> DecodedImage:
    data = read_bytes(source)
    image = decode_image(source, data) if isinstance(data, bytes) else data
    if not isinstance(image, DecodedImage):
        raise FakescanError(f"{source.path}: {image.status.sentence} Bench needs whole pictures.")
    return image


def _sample(
    sources: Sequence[Source], detectors: Sequence[Backend], options: ScanOptions
) -> list[Prepared]:
    cards = [detector.card for detector in detectors]
    step = max(1, len(sources) // _SAMPLE)
    prepared = [prepare(_decode(source), cards, crops=options.crops) for source in sources[::step]]
    sample = [item for item in prepared if item.crops is not None]
    if not sample:
        raise FakescanError("no model judges these pictures")
    return sample


def _mean_megapixels(sample: Sequence[Prepared]) -> float:
    measured = (item.measurement for item in sample)
    return statistics.mean((one.width or 0) * (one.height or 0) / 1e6 for one in measured)


def _decode_all(sources: Sequence[Source], options: ScanOptions) -> None:
    workers = options.workers or min(16, os.cpu_count() or 1)

    def decode(source: Source, reserve: Callable[[int], None]) -> None:
        _decode(source)

    for _ in read_ahead(sources, decode, workers=workers, ahead=workers + options.batch_size):
        pass


def _infer(sample: Sequence[Prepared], detectors: Sequence[Backend], options: ScanOptions) -> None:
    for batch in pipeline.group(sample, options.batch_size):
        pipeline.measure_batch(batch, detectors, options.batch_size)


def _scan(paths: Sequence[str], options: ScanOptions) -> None:
    for _ in pipeline.scan(paths, options):
        pass


# Fresh processes


def _spawn_repeatedly(
    repeats: int, paths: Sequence[str], options: ScanOptions, *, until_first: bool
) -> float:
    return statistics.median(
        _spawn(paths, options, until_first=until_first) for _ in range(repeats)
    )


def _spawn(paths: Sequence[str], options: ScanOptions, *, until_first: bool) -> float:
    """Seconds that `fakescan scan` takes in a fresh process, or until its first finding."""
    with _given(paths) as given, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            _command(options), stdin=given, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        with process.stdout as output:
            output.readline()
            first = time.perf_counter() - start
            output.read()
        code = process.wait()
        seconds = time.perf_counter() - start
        errors.seek(0)
        _check_exit(code, errors.read())
    return first if until_first else seconds


# Linux counts a process's memory from before its program began: measured from here it would be
# at least our own. So a small process starts it.
_MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _peak_memory(paths: Sequence[str], options: ScanOptions) -> float | None:
    """The most memory in MB that a scan holds; None where the system doesn't tell."""
    if not hasattr(os, "wait4"):
        return None
    with _given(paths) as given:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, *_command(options)],
            stdin=given,
            capture_output=True,
            check=False,
        )
    _check_exit(done.returncode, done.stderr)
    # Linux counts in KiB, macOS in bytes.
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024) / 1e6


def _given(paths: Sequence[str]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(b"\0".join(os.fsencode(path) for path in paths))
    file.seek(0)
    return file


def _check_exit(code: int, errors: bytes) -> None:
    if code not in {ExitCode.DONE, ExitCode.SOME_UNREADABLE}:
        lines = errors.decode(errors="replace").strip().splitlines()
        raise FakescanError(f"a scan for the bench failed: {lines[-1] if lines else 'killed'}")


def _command(options: ScanOptions) -> list[str]:
    return [sys.executable, "-m", "fakescan", "scan", "-", "-0", *_arguments(options)]


def _arguments(options: ScanOptions) -> Iterator[str]:
    yield from ("--json", "--no-store", "--crops", str(options.crops))
    yield from ("--backend", options.backend.value, "--device", options.device)
    if options.precision is not None:
        yield from ("--precision", options.precision.value)
    for model in options.models:
        yield from ("--model", model)


# Hugging Face's pipeline


def _load_hugging_face(weights: Path, device: str) -> Callable[[Sequence[str]], None]:
    """transformers' own pipeline around the same ResNet-50, with the same weights."""
    try:
        from transformers import (
            ConvNextImageProcessor,
            ResNetConfig,
            ResNetForImageClassification,
        )
        from transformers import pipeline as make_pipeline
    except ImportError as error:
        raise FakescanError(
            f"--compare needs {error.name}: pip install 'fakescan[compare]'"
        ) from error
    from fakescan.weights import load_tensors

    model = ResNetForImageClassification(ResNetConfig(num_labels=2)).eval()
    model.load_state_dict(rename_tensors(load_tensors(weights)))
    # As published with ResNet-50: the short side to 256, of it the middle 224.
    processor = ConvNextImageProcessor(
        size={"shortest_edge": _INPUT.size},
        crop_pct=0.875,
        image_mean=list(_INPUT.mean),
        image_std=list(_INPUT.std),
    )
    classifier = make_pipeline(
        "image-classification", model=model, image_processor=processor, device=device
    )

    def classify(paths: Sequence[str]) -> None:
        classifier(list(paths), batch_size=16)

    return classify


def rename_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our ResNet-50's tensors under transformers' names, with a first class of logit 0.

    Softmax over the two classes is then the sigmoid of our one logit.
    """
    import torch

    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part, rest = name.split(".", 1)
        if part == "head":
            kind = rest.rsplit(".", 1)[1]
            renamed[f"classifier.1.{kind}"] = torch.cat([torch.zeros_like(tensor), tensor])
            continue
        stage, rest = rest.split(".", 1)
        if int(stage) < _FIRST_STAGE:
            kind = "convolution" if stage == "0" else "normalization"
            renamed[f"resnet.embedder.embedder.{kind}.{rest}"] = tensor
            continue
        block, layer, rest = rest.split(".", 2)
        if layer == "downsample":
            index, rest = rest.split(".", 1)
            place, is_convolution = "shortcut", index == "0"
        else:
            place, is_convolution = f"layer.{int(layer[-1]) - 1}", layer.startswith("conv")
        kind = "convolution" if is_convolution else "normalization"
        stages = f"resnet.encoder.stages.{int(stage) - _FIRST_STAGE}"
        renamed[f"{stages}.layers.{block}.{place}.{kind}.{rest}"] = tensor
    return renamed


_FIRST_STAGE = 4
"""In our features: stem, normalisation, ReLU and pooling come before."""


# Where it was measured


def _describe_machine() -> dict[str, Any]:
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "gpu": _gpu_name(),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpu_name() -> str | None:
    torch = sys.modules.get("torch")  # where nothing needed torch, no GPU took part
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())


def _list_versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "fakescan": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
