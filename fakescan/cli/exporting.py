"""`fakescan export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fakescan.backends import MOST_VERDICTS_CHANGED, Precision
from fakescan.cli.options import AiLabelsOption, ModelOption, WeightsOption
from fakescan.records import FakescanError, how_to_install

if TYPE_CHECKING:
    from fakescan.hub import LocatedModel


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
        Precision,
        typer.Option(help="fp32 and int8 for CPUs, fp16 for TensorRT; bf16 needs no graph."),
    ] = Precision.FP32,
    data: Annotated[
        Path | None,
        typer.Option(help="int8, bf16: pictures, as for evaluate, to count changed verdicts on."),
    ] = None,
) -> None:
    """Write a model as an ONNX graph, checked against torch.

    int8 and bf16 are checked by their verdicts, and the share that changes is noted on the card:
    backends compute in them only where it is small.
    """
    try:
        from fakescan.backends.conversion import export_graph
    except ImportError as error:
        raise FakescanError(f"export needs {error.name}: {how_to_install('onnx')}") from error
    from fakescan.hub import locate_model

    located = locate_model(model, weights=weights or (), ai_labels=ai_label or ())
    if precision in {Precision.INT8, Precision.BF16}:
        _allow(located, precision, data, output)
        return
    if data is not None:
        raise FakescanError(f"--data: {precision} is checked against torch, without pictures")
    written = export_graph(located, output, precision)
    typer.echo(
        f"{written.path}: logits within {written.difference:.1e} of torch's"
        f" on {written.samples} windows"
    )


def _allow(
    model: LocatedModel, precision: Precision, data: Path | None, output: Path | None
) -> None:
    from fakescan.training.precision import measure_precision

    if not isinstance(model, Path):
        raise FakescanError(f"--precision {precision} is for fakescan's own models")
    if output is not None:
        raise FakescanError(f"--output: {precision} needs the card beside; leave it out")
    if data is None:
        raise FakescanError(f"--precision {precision} needs --data: pictures to count verdicts on")
    changes = measure_precision(model, data, precision)
    told = f"{model.stem} in {precision}: {changes.share:.2%} of {changes.n:,} verdicts change"
    if not changes.is_allowed:
        raise FakescanError(f"{told}, and {MOST_VERDICTS_CHANGED:.1%} at most is allowed")
    typer.echo(f"{told}; its card allows it now")
