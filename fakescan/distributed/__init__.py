"""The same scan on many machines: manifests to workers, parts back, judged once at the end."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fakescan import __version__
from fakescan.distributed.parts import TRIES, Manifest, PartFolder
from fakescan.distributed.worker import Introduction, Job, Worker
from fakescan.options import ScanOptions
from fakescan.pipeline import find_sources, with_name
from fakescan.records import FakescanError, Finding
from fakescan.store import RACY_NS, default_store_path
from fakescan.verdict import Policy
from fakescan.weights import ModelCard

__all__ = [
    "MANIFEST_SIZE",
    "DistributedScan",
    "Engine",
    "Introduction",
    "Job",
    "Worker",
    "default_parts",
]

MANIFEST_SIZE = 2_000
"""Sources a manifest: minutes of work, beside which handing it over costs nothing."""


def default_parts(paths: Iterable[str]) -> Path:
    """Where the parts of a scan of `paths` lie unless told otherwise: beside the store.

    A part's own name tells its settings.
    """
    named = json.dumps([os.getcwd(), *paths])
    digest = hashlib.blake2b(named.encode(), digest_size=12).hexdigest()
    return default_store_path().parent / "parts" / digest


class Engine(Protocol):
    """What runs workers, and runs a manifest again whose worker was lost."""

    def introduce(self, job: Job) -> Introduction:
        """What one worker says of itself; all others must say the same.

        Raises FakescanError where none can be started, or as `Worker.introduce`.
        """
        ...

    def measure(self, job: Job, manifests: Sequence[Manifest]) -> Generator[bool]:
        """Whether a manifest's part is there, once for each, as they end.

        Raises FakescanError as `Worker.measure`. Closed early, it stops all workers.
        """
        ...

    def close(self) -> None:
        """Let go of all workers. May be called again."""
        ...


class DistributedScan(Iterator[Finding]):
    """A scan of `paths` by an engine's workers: `find`, `measure`, then iterate it once.

    Findings are those of the plain scan, in the same order. `parts` is on storage that all workers
    see; what is done there already, by the same settings on unchanged sources, isn't done again.
    Raises FakescanError at once for what can be wrong beforehand.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        options: ScanOptions,
        engine: Engine,
        parts: Path,
        *,
        manifest_size: int = MANIFEST_SIZE,
    ) -> None:
        self.options = options
        self.manifests: tuple[Manifest, ...] = ()
        self.parts_done = 0
        self._engine = engine
        self._parts = PartFolder(Path(os.path.realpath(parts)))
        self._parts.create()
        self._size = manifest_size
        self._waiting: tuple[Manifest, ...] = ()
        excluded = (*options.excluded, str(self._parts.path))
        self._finder = find_sources(paths, replace(options, excluded=excluded))
        job = Job(options, self._parts.path, os.getcwd())
        introduction = engine.introduce(job)
        if introduction.version != __version__:
            raise FakescanError(
                f"the workers run fakescan {introduction.version}, and this is {__version__}:"
                " install the same on every node"
            )
        self.cards: tuple[ModelCard, ...] = introduction.cards
        self._policy = Policy(self.cards, options.max_false_positive_rate, combine=options.combine)
        self._job = replace(job, settings_key=introduction.settings_key)
        self._findings = self._merge()

    @property
    def other_files(self) -> int:
        """How many files were no images."""
        return self._finder.other_files

    @property
    def files(self) -> int:
        """How many sources were found."""
        return sum(manifest.count for manifest in self.manifests)

    def find(self) -> None:
        """Find all sources, once and in order, and write manifests of them."""
        settled_before_ns = time.time_ns() - RACY_NS
        settings = self._settings()
        sources = iter(self._finder)
        found: list[Manifest] = []
        while some := list(itertools.islice(sources, self._size)):
            number = len(found) + 1
            found.append(self._parts.write_manifest(number, some, settings, settled_before_ns))
        self.manifests = tuple(found)
        if self.options.rescan:
            for manifest in found:
                self._parts.remove_part(manifest)
        self._waiting = tuple(one for one in found if not self._parts.has_part(one))
        for manifest in self._waiting:
            self._parts.forget_tries(manifest)
        self.parts_done = len(found) - len(self._waiting)

    def measure(self) -> Iterator[int]:
        """Have every part made that isn't there; how many are, again and again.

        Raises FakescanError once all others are done where some can't be made.
        """
        if self._waiting:
            ended = self._engine.measure(self._job, self._waiting)
            try:
                for is_done in ended:
                    self.parts_done += is_done
                    yield self.parts_done
            finally:
                ended.close()
        missing = [one for one in self._waiting if not self._parts.has_part(one)]
        if missing:
            first = self._parts.read_manifest(missing[0])
            raise FakescanError(
                f"{len(missing):,} of {len(self.manifests):,} parts are missing, as their workers"
                f" ended {TRIES} times; one holds {first[0].path} to {first[-1].path}."
                " Memory may be short, or a file crash a decoder (--isolate)."
                " The same command tries them again, and only them."
            )

    def __next__(self) -> Finding:
        return next(self._findings)

    def close(self) -> None:
        """Stop early."""
        self._findings.close()

    def remove_parts(self) -> None:
        """Remove this scan's manifests and parts."""
        self._parts.remove(self.manifests)

    def _merge(self) -> Generator[Finding]:
        for manifest in self.manifests:
            sources = self._parts.read_manifest(manifest)
            for source, found in zip(sources, self._parts.read_part(manifest), strict=True):
                yield self._policy.judge(source, with_name(found, source.name))

    def _settings(self) -> str:
        """All that a part hangs on besides its sources: the limits too, which end in statuses."""
        options = self.options
        limits = (options.isolate, options.decode_seconds, options.decode_memory)
        return json.dumps([self._job.settings_key, limits if options.isolate else None])
