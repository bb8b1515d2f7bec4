"""The scan: find | read ahead | look up | crop and batch | measure | judge."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fakescan import __version__
from fakescan.backends import Backend, load_backend
from fakescan.hub import LocatedModel, locate_models_named
from fakescan.images import compute_sha256, decode_image, read_bytes
from fakescan.inference import group, measure_batch
from fakescan.lookahead import read_ahead
from fakescan.options import ScanOptions
from fakescan.preparation import IsolatedPreparation, Prepared, decoder_versions, prepare
from fakescan.provenance import catalogue_digest, credential_reader, read_name, with_evidence
from fakescan.records import (
    DecodedImage,
    DecoderName,
    FakescanError,
    Finding,
    Measurement,
    Source,
    Status,
    Unreadable,
)
from fakescan.sources import Shard, SourceFinder, decoding_hint, sniff_media_type
from fakescan.store import Store
from fakescan.verdict import Policy
from fakescan.weights import ModelCard

if TYPE_CHECKING:
    from fakescan.images import JpegDecoder

_BATCHES_AHEAD = 3
"""How many batches' worth of files are read ahead: one measured, one waiting, one being read."""


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
        self._policy = policy
        self._measuring = Measuring(finder, detectors, options, store)

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """The cards of the models in use, in the order in which they are asked."""
        return self._measuring.cards

    @property
    def other_files(self) -> int:
        """How many files so far were no images."""
        return self._finder.other_files

    def __next__(self) -> Finding:
        source, measurement = next(self._measuring)
        return self._policy.judge(source, with_name(measurement, source.name))

    def close(self) -> None:
        """Stop early: nothing more is read, and what is being read is let go."""
        self._measuring.close()


class Measuring(Iterator[tuple[Source, Measurement]]):
    """Sources under measurement: iterate it once for each with what it gave, in their order.

    The unit of every way of scanning: nothing is judged, and names say nothing yet.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        detectors: Sequence[Backend],
        options: ScanOptions,
        store: Store | None = None,
    ) -> None:
        self.options = options
        self._sources = sources
        self._detectors = detectors
        self._store = store
        self._settings_key = settings_key(detectors, options)
        self._isolated = self._isolate() if options.isolate else None
        self._decode_jpeg = load_jpeg_decoder(options)
        self._measurements = self._run()

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """The cards of the models in use, in the order in which they are asked."""
        return tuple(detector.card for detector in self._detectors)

    def __next__(self) -> tuple[Source, Measurement]:
        return next(self._measurements)

    def close(self) -> None:
        """Stop early: nothing more is read, and what is being read is let go."""
        self._measurements.close()
        self._stop()  # also where it never began

    def _isolate(self) -> IsolatedPreparation:
        return IsolatedPreparation(
            self.cards,
            crops=self.options.crops,
            watermarks=self.options.watermarks,
            combine=self.options.combine,
            max_pixels=self.options.max_pixels,
            seconds=self.options.decode_seconds,
            memory=self.options.decode_memory << 20,
        )

    def _stop(self) -> None:
        if self._isolated is not None:
            self._isolated.close()

    def _run(self) -> Generator[tuple[Source, Measurement]]:
        # Who waits for servers needs no core.
        usual = 16 if self.options.remote else min(16, os.cpu_count() or 1)
        workers = self.options.workers or usual
        ahead = workers + _BATCHES_AHEAD * self.options.batch_size
        prepared = read_ahead(
            self._sources, self._prepare, workers=workers, ahead=ahead, stop=self._stop
        )
        try:
            for batch in group(prepared, self.options.batch_size):
                measurements = measure_batch(batch, self._detectors, self.options.batch_size)
                for item, measurement in zip(batch, measurements, strict=True):
                    if self._store is not None and not item.is_known and self._is_sure(measurement):
                        self._store.put(item.source, measurement, self._key(item.source))
                    yield item.source, measurement
        finally:
            prepared.close()

    def _is_sure(self, measurement: Measurement) -> bool:
        # Short of memory, some decoders say that the file is at fault.
        blamed = measurement.status in {Status.CORRUPT, Status.TRUNCATED}
        return not (self.options.isolate and blamed)

    def _key(self, source: Source) -> str:
        return f"{self._settings_key}:{decoding_hint(source.name)}"

    def _prepare(self, source: Source, reserve: Callable[[int], None]) -> Prepared:
        store = None if self.options.rescan else self._store
        key = self._key(source)
        source = source.resolve()
        identity = source.identity()
        if store is not None and identity is not None:
            known = store.find_by_file(*identity, key)
            if known is not None:
                return Prepared(source, known, is_known=True)
        data = read_bytes(source, max_pixels=self.options.max_pixels, reserve=reserve)
        if isinstance(data, Unreadable):
            return prepare(data, self.cards, crops=self.options.crops)
        if source.size_bytes is None:
            source = replace(source, size_bytes=len(data))
        sha256 = compute_sha256(data)
        if store is not None:
            known = store.find_by_content(sha256, key)
            if known is not None:
                # Put again, so that next time its size and modification time suffice.
                return Prepared(source, known)
        try:
            return self._decode(source, data, sha256, reserve)
        except MemoryError:
            # Of all that a file's reading takes, only pixels were asked for beforehand.
            media_type = sniff_media_type(data)
            unread = Unreadable(source, Status.OUT_OF_MEMORY, sha256=sha256, media_type=media_type)
            return prepare(unread, self.cards, crops=self.options.crops)

    def _decode(
        self, source: Source, data: bytes, sha256: str, reserve: Callable[[int], None]
    ) -> Prepared:
        if self._isolated is not None:
            return self._isolated(source, data, sha256, reserve)
        image = decode_image(
            source,
            data,
            sha256=sha256,
            max_pixels=self.options.max_pixels,
            reserve=reserve,
            decode_jpeg=self._decode_jpeg,
        )
        return prepare(
            image,
            self.cards,
            crops=self.options.crops,
            watermarks=self.options.watermarks,
            combine=self.options.combine,
        )


def scan(
    paths: Iterable[str | Path],
    options: ScanOptions | None = None,
    *,
    store: Store | None = None,
    detectors: Sequence[Backend] | None = None,
) -> Scan:
    """Scan files and folders; an iterator that gives one finding a source, in order.

    Everything that can be wrong beforehand is found now: models are loaded and thresholds chosen
    before this returns, and FakescanError tells what can't be. Reading happens as you iterate;
    leave early with `close`. `store`, entered by the caller, keeps and gives back what was
    measured. `detectors`, from `load_detectors`, spares loading them for each of many scans.

    Nothing is printed and nothing global is changed. Any number of scans may run at once, each
    iterated by one thread at a time; a store and detectors may be shared between them.
    """
    options = options or ScanOptions()
    finder = find_sources(paths, options)
    if detectors is None:
        detectors = load_detectors(options)
    policy = Policy(
        (found.card for found in detectors),
        options.max_false_positive_rate,
        combine=options.combine,
    )
    return Scan(finder, detectors, policy, options, store)


def find_sources(paths: Iterable[str | Path], options: ScanOptions) -> SourceFinder:
    """The images under `paths` that a scan of these options looks at. FakescanError as `scan`."""
    return SourceFinder(
        (os.fspath(path) for path in paths),
        hidden=options.hidden,
        follow_links=options.follow_links,
        excluded=options.excluded,
        overlays=options.overlays,
        shard=None if options.shard is None else Shard.parse(options.shard),
        remote_seconds=options.remote_seconds if options.remote else None,
    )


def scan_batch(
    images: Sequence[DecodedImage | Unreadable],
    detectors: Sequence[Backend],
    options: ScanOptions | None = None,
) -> list[Measurement]:
    """Measure images that are decoded already, in order, as a scan measures its files."""
    options = options or ScanOptions()
    cards = [detector.card for detector in detectors]
    prepared = [
        prepare(
            image,
            cards,
            crops=options.crops,
            watermarks=options.watermarks,
            combine=options.combine,
        )
        for image in images
    ]
    return measure_batch(prepared, detectors, options.batch_size)


def load_detectors(options: ScanOptions) -> tuple[Backend, ...]:
    """The models that `options` name, in that order. Raises FakescanError for what can't be."""
    return tuple(
        load_backend(
            model, backend=options.backend, device=options.device, precision=options.precision
        )
        for model in locate_models(options)
    )


def load_jpeg_decoder(options: ScanOptions) -> JpegDecoder | None:
    """What decodes JPEGs before Pillow is asked, None for the default; FakescanError as it says."""
    if options.decode == DecoderName.CPU:
        return None
    if options.isolate:
        raise FakescanError("--decode gpu and --isolate exclude each other: choose one")
    try:
        from fakescan.backends.nvjpeg import GpuJpegDecoder
    except ImportError as error:
        raise FakescanError("--decode gpu: this torchvision decodes no JPEG on a GPU") from error
    return GpuJpegDecoder(options.device)


def locate_models(options: ScanOptions) -> tuple[LocatedModel, ...]:
    """The models that `options` name. Raises FakescanError for one that isn't there."""
    return locate_models_named(options.models, weights=options.weights, ai_labels=options.ai_labels)


def with_name(measurement: Measurement, path: str) -> Measurement:
    """The measurement with what the file's name hints at, which the store must not remember."""
    provenance = with_evidence(measurement.provenance, read_name(path))
    return replace(measurement, provenance=provenance)


def settings_key(detectors: Sequence[Backend], options: ScanOptions) -> str:
    """A name for all that a measurement depends on besides the file."""
    settings = {
        "program": __version__,
        # Of a card, what decides which pictures are shown to the network, and how.
        "models": [
            (
                (found.card.name, found.card.version, found.card.sha256),
                (asdict(found.card.architecture), asdict(found.card.input)),
                (asdict(found.card.domain), found.card.labels and asdict(found.card.labels)),
                None if found.card.gates is None else asdict(found.card.gates),
                (found.name, found.precision),
            )
            for found in detectors
        ],
        "combine": options.combine,
        "crops": options.crops,
        "watermarks": options.watermarks,
        "decode": options.decode,
        "max_pixels": options.max_pixels,
        "decoders": decoder_versions(),
        "marks": catalogue_digest(),
        "credentials": credential_reader(),
    }
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


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
