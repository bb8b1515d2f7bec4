"""`fakescan export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fakescan.backends import MOST_VERDICTS_CHANGED, Precision
from fakescan.records import FakescanError


def export(
    model: Annotated[str, typer.Option(help="Name or .safetensors file of the model.")],
    output: Annotated[
        Path | None,
        typer.Option(help="By default beside the weights: NAME.onnx, or NAME.fp16.onnx."),
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
    """Write a model as an ONNX graph, from uint8 windows to logits, checked against torch.

    int8 and bf16 are checked by their verdicts, and the share that changes is noted on the card:
    backends compute in them only where it is small.
    """
    try:
        from fakescan.backends.conversion import export_graph
    except ImportError as error:
        raise FakescanError(f"export needs {error.name}: pip install 'fakescan[onnx]'") from error
    from fakescan.weights import locate

    if precision in {Precision.INT8, Precision.BF16}:
        _allow(locate(model), precision, data, output)
        return
    if data is not None:
        raise FakescanError(f"--data: {precision} is checked against torch, without pictures")
    written = export_graph(locate(model), output, precision)
    typer.echo(
        f"{written.path}: logits within {written.difference:.1e} of torch's"
        f" on {written.samples} windows"
    )


def _allow(weights: Path, precision: Precision, data: Path | None, output: Path | None) -> None:
    from fakescan.training.precision import measure_precision

    if output is not None:
        raise FakescanError(f"--output: {precision} needs the card beside; leave it out")
    if data is None:
        raise FakescanError(f"--precision {precision} needs --data: pictures to count verdicts on")
    changes = measure_precision(weights, data, precision)
    told = f"{weights.stem} in {precision}: {changes.share:.2%} of {changes.n:,} verdicts change"
    if not changes.is_allowed:
        raise FakescanError(f"{told}, and {MOST_VERDICTS_CHANGED:.1%} at most is allowed")
    typer.echo(f"{told}; its card allows it now")
