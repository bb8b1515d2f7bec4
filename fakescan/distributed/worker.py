"""What a worker does, on whatever engine: load the models once, and turn manifests into parts."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fakescan import __version__, pipeline
from fakescan.backends import Backend
from fakescan.distributed.parts import Manifest, PartFolder
from fakescan.options import ScanOptions
from fakescan.records import FakescanError, Measurement, Source, Status
from fakescan.sources.archives import MemberSource
from fakescan.sources.remote import RemoteSource
from fakescan.weights import ModelCard


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker is told: how to scan, where parts go, and where relative paths begin.

    `settings_key` is what a worker's own must be, once one has said it.
    """

    options: ScanOptions
    parts: Path
    folder: str
    settings_key: str | None = None


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a worker says of itself once its models are loaded."""

    version: str
    settings_key: str
    cards: tuple[ModelCard, ...]


class Worker:
    """One set of models, loaded when first needed, on `cpus` CPUs."""

    def __init__(self, job: Job, cpus: int) -> None:
        self.job = job
        self._options = replace(job.options, workers=job.options.workers or cpus)
        self._parts = PartFolder(job.parts)
        with suppress(OSError):  # only relative paths need it: see `_check_place`
            os.chdir(job.folder)

    def introduce(self) -> Introduction:
        """Load the models. Raises FakescanError for what can't be loaded here."""
        cards = tuple(detector.card for detector in self._detectors)
        return Introduction(__version__, self._settings_key, cards)

    def measure(self, manifest: Manifest) -> bool:
        """Measure a manifest into its part; False where that was begun too often before.

        Raises FakescanError for what would go wrong with any manifest here.
        """
        if self._parts.has_part(manifest):  # the worker was lost when all was done
            return True
        unfinished = self._parts.begin(manifest)
        if unfinished is None:
            return False
        try:
            if self._settings_key != self.job.settings_key:
                raise FakescanError(
                    f"{platform.node()} would measure otherwise than the node asked first: give all"
                    " nodes the same programs, or name --backend, --device and --precision"
                )
            sources = self._parts.read_manifest(manifest)
            self._parts.finish(manifest, unfinished, self.measurements(sources))
        finally:
            unfinished.unlink(missing_ok=True)
        return True

    def measurements(self, sources: Sequence[Source]) -> Iterator[Measurement]:
        """What each source gives, in order, by the very pipeline of a plain scan."""
        self._check_place(sources)
        lost = 0
        measuring = pipeline.Measuring(sources, self._detectors, self._options)
        try:
            for source, measurement in measuring:
                lost += source.problem is None and measurement.status is Status.NOT_FOUND
                yield measurement
        finally:
            measuring.close()
        # Files may go while a scan runs. All of them, and their folders: storage that isn't there.
        if lost and not any(map(_is_reachable, sources)):
            raise FakescanError(
                f"{platform.node()} sees none of {len(sources):,} files such as"
                f" {sources[0].path}: mount what is scanned on every node, at the same place"
            )

    @cached_property
    def _detectors(self) -> Sequence[Backend]:
        return pipeline.load_detectors(self._options)

    @cached_property
    def _settings_key(self) -> str:
        return pipeline.settings_key(self._detectors, self._options)

    def _check_place(self, sources: Sequence[Source]) -> None:
        if os.path.realpath(self.job.folder) != os.path.realpath(os.curdir):
            relative = next((one.path for one in sources if not os.path.isabs(one.path)), None)
            if relative is not None:
                raise FakescanError(
                    f"{platform.node()} has no folder {self.job.folder}, where {relative} would be:"
                    " name paths from the root on"
                )


def _is_reachable(source: Source) -> bool:
    """Whether the folder where it lies holds anything here; servers answer for themselves."""
    place = source.archive if isinstance(source, MemberSource) else source
    if isinstance(place, RemoteSource):
        return True
    try:
        with os.scandir(os.path.dirname(place.path) or os.curdir) as entries:
            return any(entries)
    except OSError:
        return False
