"""`fakescan export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakescan.backends import Precision
from fakescan.cli.options import AiLabelsOption, ModelOption, WeightsOption
from fakescan.records import FakescanError


def export(
    model: ModelOption,
    weights: WeightsOption = None,
    ai_label: AiLabelsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="By default beside the weights, NAME.onnx or NAME.fp16.onnx; of published models"
            " in the cache."
        ),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="fp32 for CPUs, fp16 for TensorRT.")
    ] = Precision.FP32,
) -> None:
    """Write a model as an ONNX graph, from uint8 windows to logits, checked against torch."""
    try:
        from fakescan.backends.conversion import export_graph
    except ImportError as error:
        raise FakescanError(f"export needs {error.name}: pip install 'fakescan[onnx]'") from error
    from fakescan.hub import locate_model

    located = locate_model(model, weights=weights or (), ai_labels=ai_label or ())
    written = export_graph(located, output, precision)
    typer.echo(
        f"{written.path}: logits within {written.difference:.1e} of torch's"
        f" on {written.samples} windows"
    )
