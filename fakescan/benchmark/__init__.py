"""How fast a scan is here: decoding alone, the network alone, both, and what limits them."""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fakescan import pipeline
from fakescan.backends import Backend, BackendName, Precision
from fakescan.benchmark.hugging_face import load_classifier
from fakescan.benchmark.machine import describe_machine, list_versions
from fakescan.benchmark.material import RESNET_INPUT, SIZES, make_model, make_pictures
from fakescan.benchmark.processes import measure_peak_memory, time_scans
from fakescan.images import crop_positions, cut_crops, decode_image, read_bytes
from fakescan.inference import group, measure_batch
from fakescan.lookahead import read_ahead
from fakescan.options import ScanOptions
from fakescan.preparation import Prepared, prepare
from fakescan.records import DEFAULT_CROPS, DecodedImage, DecoderName, FakescanError, Source
from fakescan.sources import SourceFinder

if TYPE_CHECKING:
    from fakescan.images import JpegDecoder
    from fakescan.records import UInt8Array

_SAMPLE = 64
"""Pictures whose windows are kept in memory for the network alone."""

_RANGE_PICTURES = 16
"""Pictures of which the ranges of a random network's int8 come: it has no verdicts to keep."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured. Without `folder`, `images` pictures of `megapixels` are made."""

    folder: Path | None = None
    model: str | None = None
    weights: tuple[str, ...] = ()
    ai_labels: tuple[str, ...] = ()
    backend: BackendName = BackendName.AUTO
    device: str = "auto"
    precision: Precision | None = None
    decode: DecoderName = DecoderName.CPU
    images: int = 48
    repeats: int = 3
    megapixels: tuple[float, ...] = tuple(SIZES)
    crops: int = DEFAULT_CROPS
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
    model_version: str
    model_sha256: str
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


def _choose_model(options: BenchOptions, sources: Sequence[Source], folder: Path) -> ScanOptions:
    """The model asked for, where it judges these pictures; else a ResNet-50 made for them."""
    scan_options = ScanOptions(
        models=(options.model,) if options.model else (),
        weights=options.weights,
        ai_labels=options.ai_labels,
        backend=options.backend,
        device=options.device,
        precision=options.precision,
        decode=options.decode,
        crops=1 if options.compare else options.crops,
    )
    if not options.compare:
        cards = [detector.card for detector in pipeline.load_detectors(scan_options)]
        image = _decode(sources[0])
        if any(card.domain.refuse(image.width, image.height) is None for card in cards):
            return scan_options
    windows = np.concatenate([_window(_decode(source)) for source in sources[:_RANGE_PICTURES]])
    weights = make_model(folder / "models", options.backend, options.precision, windows)
    return dataclasses.replace(scan_options, models=(str(weights),), weights=(), ai_labels=())


def _window(image: DecodedImage) -> UInt8Array:
    size = RESNET_INPUT.size
    if min(image.width, image.height) < size:
        raise FakescanError(f"{image.source.path}: bench needs pictures of {size} px and more")
    return cut_crops(image.pixels, size, crop_positions(image.pixels, size, 1))


def _measure(
    options: BenchOptions, scan_options: ScanOptions, sources: Sequence[Source], folder: Path
) -> Benchmark:
    detectors = pipeline.load_detectors(scan_options)
    sample = _sample(sources, detectors, scan_options)
    paths = [source.path for source in sources]
    timed: dict[str, Callable[[], None]] = {
        "decode": lambda: _decode_all(sources, scan_options),
        "inference": lambda: _infer(sample, detectors, scan_options),
        "scan": lambda: _scan(paths, scan_options, detectors),
    }
    counts = {"decode": len(sources), "inference": len(sample), "scan": len(sources)}
    if options.compare:
        classify = load_classifier(Path(scan_options.models[0]), detectors[0].device)
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
    detector = detectors[next(item.views[0].detector for item in sample if item.views)]
    megabytes = sum(source.size_bytes or 0 for source in sources) / 1e6
    (folder / "empty").mkdir(exist_ok=True)
    theirs = median.get("hugging_face")
    return Benchmark(
        images_per_second=images,
        megabytes_per_second=Rates(
            *(rate * megabytes / len(sources) for rate in dataclasses.astuple(images))
        ),
        share_of_limit=images.scan / _limit(images, detector.device),
        startup_seconds=time_scans(
            options.repeats, [str(folder / "empty")], scan_options, until_first=False
        ),
        first_finding_seconds=time_scans(
            options.repeats, paths[:1], scan_options, until_first=True
        ),
        peak_memory_mb=measure_peak_memory(paths, scan_options),
        backend=detector.name,
        precision=detector.precision,
        device=detector.device,
        model=detector.card.name,
        model_version=detector.card.version,
        model_sha256=detector.card.sha256,
        crops=scan_options.crops,
        images=len(sources),
        megapixels=_mean_megapixels(sample),
        megabytes=megabytes,
        repeats=options.repeats,
        hugging_face_images_per_second=theirs,
        ratio_to_hugging_face=None if theirs is None else images.scan / theirs,
        machine=describe_machine(),
        versions=list_versions(),
    )


def _limit(rates: Rates, device: str) -> float:
    if device == "cpu":
        return 1 / (1 / rates.decode + 1 / rates.inference)
    return min(rates.decode, rates.inference)


def _decode(source: Source, decode_jpeg: JpegDecoder | None = None) -> DecodedImage:
    data = read_bytes(source)
    image = decode_image(source, data, decode_jpeg=decode_jpeg) if isinstance(data, bytes) else data
    if not isinstance(image, DecodedImage):
        raise FakescanError(f"{source.path}: {image.status.sentence} Bench needs whole pictures.")
    return image


def _sample(
    sources: Sequence[Source], detectors: Sequence[Backend], options: ScanOptions
) -> list[Prepared]:
    cards = [detector.card for detector in detectors]
    step = max(1, len(sources) // _SAMPLE)
    prepared = [prepare(_decode(source), cards, crops=options.crops) for source in sources[::step]]
    if not any(item.views for item in prepared):
        raise FakescanError("no model judges these pictures")
    # Those that none judges are part of the rate: decoding and scanning meet them too.
    return prepared


def _mean_megapixels(sample: Sequence[Prepared]) -> float:
    measured = (item.measurement for item in sample)
    return statistics.mean((one.width or 0) * (one.height or 0) / 1e6 for one in measured)


def _decode_all(sources: Sequence[Source], options: ScanOptions) -> None:
    workers = options.workers or min(16, os.cpu_count() or 1)
    decode_jpeg = pipeline.load_jpeg_decoder(options)

    def decode(source: Source, reserve: Callable[[int], None]) -> None:
        _decode(source, decode_jpeg)

    for _ in read_ahead(sources, decode, workers=workers, ahead=workers + options.batch_size):
        pass


def _infer(sample: Sequence[Prepared], detectors: Sequence[Backend], options: ScanOptions) -> None:
    for batch in group(sample, options.batch_size):
        measure_batch(batch, detectors, options.batch_size)


def _scan(paths: Sequence[str], options: ScanOptions, detectors: Sequence[Backend]) -> None:
    # Loading them is part of starting up, which is told by itself.
    for _ in pipeline.scan(paths, options, detectors=detectors):
        pass
