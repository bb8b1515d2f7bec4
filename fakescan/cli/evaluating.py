"""`fakescan evaluate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.backends import BackendName
from fakescan.cli.options import BackendOption, DeviceOption, JsonOption, PrecisionOption
from fakescan.records import Split

if TYPE_CHECKING:
    from fakescan.training.evaluate import Metrics


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
    json_output: JsonOption = False,
    backend: BackendOption = BackendName.AUTO,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
) -> None:
    """Measure a model on labelled pictures."""
    from fakescan.backends import load_backend
    from fakescan.training.data import find_data
    from fakescan.training.evaluate import evaluate as run
    from fakescan.training.pictures import draw_evaluation
    from fakescan.weights import locate

    loaded = load_backend(locate(model), backend=backend, device=device, precision=precision)
    evaluation = run(loaded, find_data(data), split=split)
    if picture is not None:
        draw_evaluation(evaluation, picture)
    if json_output:
        about = {"model": evaluation.model, "data": evaluation.data, "split": evaluation.split}
        typer.echo(json.dumps({**about, **asdict(evaluation.metrics)}))
    else:
        title = f"{evaluation.model} on {evaluation.data}, {evaluation.split}"
        print_metrics(title, evaluation.metrics)


def print_metrics(title: str, metrics: Metrics) -> None:
    """A table of figures on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", title=title)
    table.columns[1].justify = "right"
    for name, value in asdict(metrics).items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
        table.add_row(name.replace("_", " "), shown)
    Console().print(table)
