"""`fakescan bench`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.backends import BackendName
from fakescan.cli.options import (
    AiLabelsOption,
    BackendOption,
    CropsOption,
    DecodeOption,
    DeviceOption,
    PrecisionOption,
    WeightsOption,
)
from fakescan.records import DEFAULT_CROPS, DecoderName, FakescanError

if TYPE_CHECKING:
    from fakescan.benchmark import Benchmark


def bench(
    folder: Annotated[
        Path | None, typer.Argument(help="Pictures to measure with; by default some are made.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model to run; a random ResNet-50 where it doesn't judge the pictures."),
    ] = None,
    weights: WeightsOption = None,
    ai_label: AiLabelsOption = None,
    backend: BackendOption = BackendName.AUTO,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    decode: DecodeOption = DecoderName.CPU,
    images: Annotated[int, typer.Option(min=1, help="Pictures, at most.")] = 48,
    repeats: Annotated[int, typer.Option(min=1, help="Times each part is measured.")] = 3,
    megapixels: Annotated[
        list[float] | None,
        typer.Option(help="Size of pictures made: 0.3, 2 or 12; may be repeated; default all."),
    ] = None,
    crops: CropsOption = DEFAULT_CROPS,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="The same ResNet-50 in Hugging Face's pipeline, side by side."
        ),
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Leave out the table; the JSON line is always written.")
    ] = False,
) -> None:
    """Measure how fast a scan is here, and what limits it."""
    from fakescan.benchmark import BenchOptions, run_benchmark
    from fakescan.benchmark.material import SIZES

    sizes = tuple(megapixels or SIZES)
    if not set(sizes) <= set(SIZES):
        raise FakescanError("--megapixels is 0.3, 2 or 12")
    options = BenchOptions(
        folder=folder,
        model=model,
        weights=tuple(weights or ()),
        ai_labels=tuple(ai_label or ()),
        backend=backend,
        device=device,
        precision=precision,
        decode=decode,
        images=images,
        repeats=repeats,
        megapixels=sizes,
        crops=crops,
        compare=compare,
    )
    result = run_benchmark(options)
    if not json_output:
        _print(result)
    typer.echo(json.dumps(dataclasses.asdict(result)))


def _print(result: Benchmark) -> None:
    from rich.table import Table

    from fakescan.cli.console import ErrorConsole

    title = (
        f"{result.model} by {result.backend}, {result.precision}, on {result.device}:"
        f" {result.images} pictures, {result.megapixels:.1f} MP on average"
    )
    table = Table("figure", "images/s", "MB/s", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    images, megabytes = result.images_per_second, result.megabytes_per_second
    for name in ("decode", "inference", "scan"):
        rates = (getattr(images, name), getattr(megabytes, name))
        table.add_row(name, *(f"{rate:,.1f}" for rate in rates))
    if result.hugging_face_images_per_second is not None:
        table.add_row("Hugging Face", f"{result.hugging_face_images_per_second:,.1f}", "")
        table.add_row("scan / Hugging Face", f"{result.ratio_to_hugging_face:.2f}", "")
    console = ErrorConsole()
    console.print(table)
    memory = "" if result.peak_memory_mb is None else f", {result.peak_memory_mb:,.0f} MB at most"
    console.print(
        f"{result.share_of_limit:.0%} of the limit, start {result.startup_seconds:.2f} s,"
        f" first finding {result.first_finding_seconds:.2f} s{memory}",
        highlight=False,
    )
