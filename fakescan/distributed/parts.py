"""Manifests and parts: what a scan is divided into, and what became of each, as files."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fakescan.records import FakescanError, Measurement, Source
from fakescan.sources import decode_source, encode_source
from fakescan.store import decode_measurement, encode_measurement

TRIES = 3
"""How often a manifest is begun. What ended its worker so often would end it again."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`count` sources, in order. `digest` names them, and all that measuring them hangs on."""

    number: int
    digest: str
    count: int

    @property
    def name(self) -> str:
        """What its files are called by."""
        return f"{self.number:07}-{self.digest}"


class PartFolder:
    """A folder, on storage that every node sees: manifests, and a part for each that is done.

    A part is JSON Lines: a measurement a line, in its manifest's order, and a last line with their
    number and SHA-256. It takes its name only when it is complete, so the name says that it is
    done; until then it is one of `TRIES` files that count how often the manifest was begun. Raises
    FakescanError where the folder can't be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the folder where there is none."""
        with self._told():
            self.path.mkdir(parents=True, exist_ok=True)

    def write_manifest(
        self, number: int, sources: Sequence[Source], settings: str, settled_before_ns: int
    ) -> Manifest:
        """Write down sources; `settings` names all else that their measurements hang on.

        Sources modified since `settled_before_ns` may change again and look the same, so no part of
        another run is ever taken for theirs.
        """
        lines = "".join(encode_source(source) + "\n" for source in sources)
        digest = hashlib.blake2b(settings.encode(), digest_size=12)
        digest.update(lines.encode())
        if any((source.modified_ns or 0) >= settled_before_ns for source in sources):
            digest.update(uuid.uuid4().bytes)
        manifest = Manifest(number, digest.hexdigest(), len(sources))
        unfinished = self.path / f"{manifest.name}.writing"
        with self._told():
            unfinished.write_text(lines, "utf-8")
            unfinished.replace(self._manifest(manifest))
        return manifest

    def read_manifest(self, manifest: Manifest) -> list[Source]:
        """The sources that were written down."""
        with self._told():
            lines = self._manifest(manifest).read_text("utf-8").splitlines()
        return [decode_source(line) for line in lines]

    def begin(self, manifest: Manifest) -> Path | None:
        """A file for one try at the manifest's part, or None after `TRIES` that never ended."""
        for number in range(1, TRIES + 1):
            unfinished = self.path / f"{manifest.name}.try-{number}"
            with self._told(), suppress(FileExistsError):
                unfinished.open("xb").close()
                return unfinished
        return None

    def forget_tries(self, manifest: Manifest) -> None:
        """Remove what tries of an earlier run left."""
        with self._told():
            for number in range(1, TRIES + 1):
                (self.path / f"{manifest.name}.try-{number}").unlink(missing_ok=True)

    def finish(
        self, manifest: Manifest, unfinished: Path, measurements: Iterable[Measurement]
    ) -> None:
        """Write measurements as they come into the file that `begin` gave; it is then the part."""
        count, digest = 0, hashlib.sha256()
        with self._told():
            file = unfinished.open("wb")
        with file:
            for measurement in measurements:
                line = encode_measurement(measurement) + b"\n"
                digest.update(line)
                count += 1
                with self._told():
                    file.write(line)
            with self._told():
                file.write(_ending(count, digest.hexdigest()))
                file.flush()
        with self._told():
            unfinished.replace(self._part(manifest))

    def has_part(self, manifest: Manifest) -> bool:
        """Whether the manifest's part is there, whole and undamaged."""
        return self._read_lines(manifest) is not None

    def read_part(self, manifest: Manifest) -> list[Measurement]:
        """The measurements in the manifest's part, in order.

        Raises FakescanError, and removes the part, where it has come to harm.
        """
        with suppress(ValueError, KeyError, TypeError):
            if (lines := self._read_lines(manifest)) is not None:
                return [decode_measurement(line) for line in lines]
        self.remove_part(manifest)
        raise FakescanError(
            f"{self._part(manifest)} is missing or damaged; the same command measures it again"
        )

    def remove_part(self, manifest: Manifest) -> None:
        """Remove the manifest's part if there is one."""
        with self._told():
            self._part(manifest).unlink(missing_ok=True)

    def remove(self, manifests: Iterable[Manifest]) -> None:
        """Remove these manifests and their parts, and the folder if nothing else is in it."""
        with self._told():
            for manifest in manifests:
                self._part(manifest).unlink(missing_ok=True)
                self._manifest(manifest).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def _read_lines(self, manifest: Manifest) -> list[bytes] | None:
        with self._told():
            try:
                data = self._part(manifest).read_bytes()
            except FileNotFoundError:
                return None
        body, separator, _ = data[:-1].rpartition(b"\n")
        body += separator
        lines = body.splitlines()
        whole = body + _ending(manifest.count, hashlib.sha256(body).hexdigest())
        return lines if data == whole and len(lines) == manifest.count else None

    def _manifest(self, manifest: Manifest) -> Path:
        return self.path / f"{manifest.name}.manifest.jsonl"

    def _part(self, manifest: Manifest) -> Path:
        return self.path / f"{manifest.name}.part.jsonl"

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FakescanError(f"--parts {self.path}: {error.strerror}.") from error


def _ending(count: int, sha256: str) -> bytes:
    return json.dumps({"measurements": count, "sha256": sha256}).encode() + b"\n"
