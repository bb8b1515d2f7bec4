"""The scan: find | read ahead | look up | crop and batch | measure | judge."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fakescan import __version__
from fakescan.backends import Backend, BackendName, Precision, load_backend
from fakescan.images import (
    compute_sha256,
    crop_positions,
    cut_crops,
    decode_image,
    read_bytes,
)
from fakescan.lookahead import read_ahead
from fakescan.provenance import read_pixel_marks, read_provenance, with_pixel_marks
from fakescan.records import (
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    DEFAULT_MAX_PIXELS,
    Crop,
    DecodedImage,
    Finding,
    Measurement,
    MetadataStatus,
    ModelOutput,
    Provenance,
    Reason,
    Source,
    Status,
    Unreadable,
)
from fakescan.sources import SourceFinder, decoding_hint
from fakescan.store import Store, real_path_bytes
from fakescan.verdict import Policy
from fakescan.weights import ModelCard, find_models, locate

if TYPE_CHECKING:
    from fakescan.records import UInt8Array

_BATCHES_AHEAD = 3
"""How many batches' worth of files are read ahead: one measured, one waiting, one being read."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan looks at, with what, and how it judges. `models` empty: all that come along."""

    models: tuple[str, ...] = ()
    backend: BackendName = BackendName.AUTO
    device: str = "auto"
    precision: Precision | None = None
    batch_size: int = 64
    workers: int | None = None
    crops: int = 8
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_false_positive_rate: float = DEFAULT_MAX_FALSE_POSITIVE_RATE
    hidden: bool = False
    follow_links: bool = False
    excluded: tuple[str, ...] = ()
    rescan: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A source after reading: its measurement, and the crops that a detector has yet to see."""

    source: Source
    measurement: Measurement
    detector: int = 0
    positions: tuple[tuple[int, int], ...] = ()
    crops: UInt8Array | None = None
    is_known: bool = False

    @property
    def waiting_crops(self) -> int:
        """How many crops wait for the detector."""
        return 0 if self.crops is None else len(self.crops)


class Scan(Iterator[Finding]):
    """A scan under way: iterate it once for one finding a source, in the order of the sources."""

    def __init__(
        self,
        finder: SourceFinder,
        detectors: Sequence[Backend],
        policy: Policy,
        options: ScanOptions,
        store: Store | None,
    ) -> None:
        self.options = options
        self._finder = finder
        self._detectors = detectors
        self._policy = policy
        self._store = store
        self._settings_key = settings_key(detectors, options)
        self._findings = self._run()

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """The cards of the models in use, in the order in which they are asked."""
        return tuple(detector.card for detector in self._detectors)

    @property
    def other_files(self) -> int:
        """How many files so far were no images."""
        return self._finder.other_files

    def __next__(self) -> Finding:
        return next(self._findings)

    def close(self) -> None:
        """Stop early: nothing more is read, and what is being read is let go."""
        self._findings.close()

    def _run(self) -> Generator[Finding]:
        workers = self.options.workers or min(16, os.cpu_count() or 1)
        ahead = workers + _BATCHES_AHEAD * self.options.batch_size
        prepared = read_ahead(self._finder, self._prepare, workers=workers, ahead=ahead)
        try:
            for batch in group(prepared, self.options.batch_size):
                measurements = measure_batch(batch, self._detectors, self.options.batch_size)
                for item, measurement in zip(batch, measurements, strict=True):
                    if self._store is not None and not item.is_known:
                        self._store.put(item.source, measurement, self._key(item.source))
                    yield self._policy.judge(item.source, measurement)
        finally:
            prepared.close()

    def _key(self, source: Source) -> str:
        return f"{self._settings_key}:{decoding_hint(source.path)}"

    def _prepare(self, source: Source, reserve: Callable[[int], None]) -> Prepared:
        store = None if self.options.rescan else self._store
        key = self._key(source)
        if store is not None and source.size_bytes is not None and source.modified_ns is not None:
            known = store.find_by_file(
                real_path_bytes(source.path), source.size_bytes, source.modified_ns, key
            )
            if known is not None:
                return Prepared(source, known, is_known=True)
        data = read_bytes(source, max_pixels=self.options.max_pixels, reserve=reserve)
        if isinstance(data, Unreadable):
            return prepare(data, self._detectors, self.options)
        sha256 = compute_sha256(data)
        if store is not None:
            known = store.find_by_content(sha256, key)
            if known is not None:
                # Put again, so that next time its size and modification time suffice.
                return Prepared(source, known)
        image = decode_image(
            source, data, sha256=sha256, max_pixels=self.options.max_pixels, reserve=reserve
        )
        return prepare(image, self._detectors, self.options)


def scan(
    paths: Iterable[str | Path],
    options: ScanOptions | None = None,
    *,
    store: Store | None = None,
) -> Scan:
    """Scan files and folders; an iterator that gives one finding a source, in order.

    Everything that can be wrong beforehand is found now: models are loaded and thresholds chosen
    before this returns, and FakescanError tells what can't be. Reading happens as you iterate.
    `store`, entered by the caller, keeps and gives back what was measured.
    """
    options = options or ScanOptions()
    detectors = load_detectors(options)
    policy = Policy((found.card for found in detectors), options.max_false_positive_rate)
    finder = SourceFinder(
        (os.fspath(path) for path in paths),
        hidden=options.hidden,
        follow_links=options.follow_links,
        excluded=options.excluded,
    )
    return Scan(finder, detectors, policy, options, store)


def scan_batch(
    images: Sequence[DecodedImage | Unreadable],
    detectors: Sequence[Backend],
    options: ScanOptions | None = None,
) -> list[Measurement]:
    """Measure decoded images, in order: the unit that every way of scanning shares."""
    options = options or ScanOptions()
    prepared = [prepare(image, detectors, options) for image in images]
    return measure_batch(prepared, detectors, options.batch_size)


def load_detectors(options: ScanOptions) -> tuple[Backend, ...]:
    """The models that `options` name, in that order. Raises FakescanError for what can't be."""
    return tuple(
        load_backend(
            path, backend=options.backend, device=options.device, precision=options.precision
        )
        for path in locate_models(options)
    )


def locate_models(options: ScanOptions) -> tuple[Path, ...]:
    """The weights files that `options` name. Raises FakescanError for one that isn't there."""
    return tuple(locate(model) for model in options.models) or find_models()


def settings_key(detectors: Sequence[Backend], options: ScanOptions) -> str:
    """A name for all that a measurement depends on besides the file."""
    settings = {
        "program": __version__,
        # Of a card, what decides which pictures are shown to the network, and how.
        "models": [
            (
                (found.card.name, found.card.version, found.card.sha256),
                (asdict(found.card.input), asdict(found.card.domain)),
                (found.name, found.precision),
            )
            for found in detectors
        ],
        "crops": options.crops,
        "max_pixels": options.max_pixels,
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def prepare(
    image: DecodedImage | Unreadable, detectors: Sequence[Backend], options: ScanOptions
) -> Prepared:
    """Read what the file says of itself, and cut the crops that a detector will see."""
    if isinstance(image, Unreadable):
        return Prepared(image.source, _measure_unreadable(image))
    provenance = with_pixel_marks(
        read_provenance(image.data, image.media_type), read_pixel_marks(image)
    )
    measurement = Measurement(
        status=Status.OK,
        provenance=provenance,
        abstention=Reason.NO_MODEL_FOR_SIZE,
        sha256=image.sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        orientation=image.orientation,
        has_more_frames=image.has_more_frames,
    )
    for index, detector in enumerate(detectors):
        refusal = detector.card.domain.refuse(image.width, image.height)
        if refusal is None:
            size = detector.card.input.size
            positions = crop_positions(image.width, image.height, size, options.crops)
            crops = cut_crops(image.pixels, size, positions)
            return Prepared(image.source, measurement, index, positions, crops)
        measurement = replace(measurement, abstention=refusal)
    return Prepared(image.source, measurement)


def _measure_unreadable(image: Unreadable) -> Measurement:
    provenance = (
        Provenance(metadata_status=MetadataStatus.UNREAD)
        if image.data is None
        else read_provenance(image.data, image.media_type)
    )
    return Measurement(
        status=image.status,
        provenance=provenance,
        sha256=image.sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
    )


def measure_batch(
    prepared: Sequence[Prepared], detectors: Sequence[Backend], batch_size: int
) -> list[Measurement]:
    """Show each item's crops to its detector, `batch_size` at a time, and pool their logits."""
    measurements = [item.measurement for item in prepared]
    for index, detector in enumerate(detectors):
        waiting = [
            (place, item)
            for place, item in enumerate(prepared)
            if item.crops is not None and item.detector == index
        ]
        if not waiting:
            continue
        crops = np.concatenate([item.crops for _, item in waiting if item.crops is not None])
        logits = np.concatenate(
            [
                detector.logits(crops[first : first + batch_size])
                for first in range(0, len(crops), batch_size)
            ]
        ).tolist()
        remaining = iter(logits)
        for place, item in waiting:
            own = list(itertools.islice(remaining, item.waiting_crops))
            measurements[place] = replace(
                item.measurement, output=_output(detector, item.positions, own), abstention=None
            )
    return measurements


def _output(
    detector: Backend, positions: tuple[tuple[int, int], ...], logits: list[float]
) -> ModelOutput:
    card = detector.card
    return ModelOutput(
        name=card.name,
        version=card.version,
        sha256=card.sha256,
        backend=detector.name,
        precision=detector.precision,
        logit=sum(logits) / len(logits),
        crops=tuple(
            Crop(x, y, card.input.size, logit)
            for (x, y), logit in zip(positions, logits, strict=True)
        ),
    )


def group(prepared: Iterable[Prepared], batch_size: int) -> Iterator[list[Prepared]]:
    """Items in order, in groups that hold about `batch_size` crops between them.

    What waits for no detector goes on at once, unless something before it waits.
    """
    waiting: list[Prepared] = []
    crops = 0
    for item in prepared:
        waiting.append(item)
        crops += item.waiting_crops
        # A long run of items without crops must not hold back the few with some for ever.
        if crops == 0 or crops >= batch_size or len(waiting) >= 4 * batch_size:
            yield waiting
            waiting, crops = [], 0
    if waiting:
        yield waiting


def describe_models(cards: Iterable[ModelCard]) -> tuple[dict[str, object], ...]:
    """What a report's header says of each model."""
    return tuple(
        {
            "name": card.name,
            "version": card.version,
            "sha256": card.sha256,
            "domain": asdict(card.domain),
            "limits": list(card.limits),
        }
        for card in cards
    )


def describe_settings(options: ScanOptions) -> dict[str, object]:
    """What a report's header says of the settings that its findings depend on."""
    return {
        "backend": options.backend.value,
        "device": options.device,
        "precision": options.precision and options.precision.value,
        "crops": options.crops,
        "max_pixels": options.max_pixels,
        "max_false_positive_rate": options.max_false_positive_rate,
        "hidden": options.hidden,
        "follow_links": options.follow_links,
    }
