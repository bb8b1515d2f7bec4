"""`fakescan evaluate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.backends import BackendName
from fakescan.cli.options import BackendOption, DeviceOption, JsonOption, PrecisionOption
from fakescan.records import FakescanError, Split

if TYPE_CHECKING:
    from fakescan.training.evaluate import Metrics
    from fakescan.training.faithfulness import Faithfulness


def evaluate(
    model: Annotated[str, typer.Option(help="Name or .safetensors file of the model.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder or archive of labelled pictures; as for train.")
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="By default test, where there is one.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw ROC, confusion and reliability into this PNG.")
    ] = None,
    sources_picture: Annotated[
        Path | None,
        typer.Option(help="Draw a bar for each source (subfolder) into this PNG."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Measure the overlays too: deletion and insertion.")
    ] = False,
    json_output: JsonOption = False,
    backend: BackendOption = BackendName.AUTO,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
) -> None:
    """Measure a model on labelled pictures."""
    from fakescan.backends import load_backend
    from fakescan.training.data import find_data
    from fakescan.training.evaluate import evaluate as run
    from fakescan.training.evaluate import read_split
    from fakescan.training.faithfulness import measure_faithfulness
    from fakescan.training.pictures import draw_evaluation, draw_sources
    from fakescan.weights import locate

    for target in (picture, sources_picture):
        if target is not None and not target.parent.is_dir():
            raise FakescanError(f"the picture {target}: there is no such folder; create it first")
    weights = locate(model)
    loaded = load_backend(weights, backend=backend, device=device, precision=precision)
    labelled = read_split(find_data(data), loaded.card.input.size, split)
    evaluation = run(loaded, labelled)
    faithfulness = measure_faithfulness(weights, labelled.pictures) if explain else None
    if picture is not None:
        draw_evaluation(evaluation, picture)
    if sources_picture is not None and not draw_sources(evaluation, sources_picture):
        raise FakescanError("--sources-picture: the class folders have no folders of sources")
    if json_output:
        about = {"model": evaluation.model, "data": evaluation.data, "split": evaluation.split}
        explained = {} if faithfulness is None else {"faithfulness": asdict(faithfulness)}
        typer.echo(json.dumps({**about, **asdict(evaluation.metrics), **explained}))
    else:
        title = f"{evaluation.model} on {evaluation.data}, {evaluation.split}"
        print_metrics(title, evaluation.metrics)
        if faithfulness is not None:
            print_metrics("overlays of AI pictures: area under P(AI)", faithfulness)


def print_metrics(title: str, metrics: Metrics | Faithfulness) -> None:
    """A table of figures on standard output."""
    from rich.table import Table

    from fakescan.cli.console import OutputConsole

    table = Table("figure", "value", title=title)
    table.columns[1].justify = "right"
    for name, value in asdict(metrics).items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
        table.add_row(name.replace("_", " "), shown)
    OutputConsole().print(table)
