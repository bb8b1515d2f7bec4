"""`fakescan scan --engine ray`: its options, and the scan until there is something to report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.records import ExitCode, FakescanError

if TYPE_CHECKING:
    from fakescan.distributed import DistributedScan
    from fakescan.options import ScanOptions


class EngineName(StrEnum):
    """What `--engine` takes."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="Scan in this process, or by workers of Ray.")
]
PartsOption = Annotated[
    Path | None,
    typer.Option("--parts", help="With --engine ray: folder for what is done; all nodes see it."),
]
ManifestSizeOption = Annotated[
    int | None,
    typer.Option(
        "--manifest-size",
        min=1,
        max=100_000,
        help="With --engine ray: files a worker gets at once; by default 2,000.",
    ),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option("--ray-address", help="With --engine ray: a cluster, as HOST:6379 or auto."),
]


@dataclass(frozen=True, slots=True)
class Distribution:
    """Who scans, and how the work is handed out."""

    engine: EngineName
    parts: Path | None
    manifest_size: int | None
    ray_address: str | None

    def check(self, store: Path | None) -> None:
        """Raise FakescanError for options that mean nothing together."""
        if self.engine is EngineName.RAY:
            if store is not None:
                raise FakescanError("--engine ray keeps parts and no store; leave out --store.")
            return
        given = {
            "--parts": self.parts,
            "--manifest-size": self.manifest_size,
            "--ray-address": self.ray_address,
        }
        for name, value in given.items():
            if value is not None:
                raise FakescanError(f"{name} needs --engine ray.")

    @contextmanager
    def measure(
        self, paths: Iterable[str], key: Iterable[str], options: ScanOptions, *, keep: bool
    ) -> Iterator[DistributedScan]:
        """A scan whose parts are all there, to be iterated. `key` names it among others.

        Without `keep`, its parts are removed once that is done.
        """
        from fakescan.distributed import MANIFEST_SIZE, DistributedScan, default_parts
        from fakescan.distributed.ray import RayEngine

        engine = RayEngine(self.ray_address)
        try:
            scan = DistributedScan(
                paths,
                options,
                engine,
                self.parts or default_parts(key),
                manifest_size=self.manifest_size or MANIFEST_SIZE,
            )
            _measure(scan)
        finally:
            engine.close()
        yield scan
        if not keep:
            scan.remove_parts()


def _measure(scan: DistributedScan) -> None:
    from tqdm import tqdm

    from fakescan.cli.console import ErrorConsole

    try:
        scan.find()
        with tqdm(
            total=len(scan.manifests),
            initial=scan.parts_done,
            unit=" parts",
            disable=None,
            dynamic_ncols=True,
            leave=False,
        ) as bar:
            for done in scan.measure():
                bar.update(done - bar.n)
    except KeyboardInterrupt:
        ErrorConsole().print(
            f"Interrupted after {scan.parts_done:,} of {len(scan.manifests):,} parts;"
            " the same command goes on from here.",
            highlight=False,
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None
