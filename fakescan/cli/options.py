"""Options that several commands share: one name and one sentence each."""

from __future__ import annotations

from typing import Annotated

import typer

from fakescan.backends import BackendName, Precision
from fakescan.records import (
    HIGHEST_MAX_FALSE_POSITIVE_RATE,
    MAX_CROPS,
    MIN_REMOTE_SECONDS,
    DecoderName,
)

BackendOption = Annotated[BackendName, typer.Option("--backend", help="Runtime of the network.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option("--precision", help="Arithmetic; by default fp32 on a CPU, fp16 on a GPU."),
]
DecodeOption = Annotated[
    DecoderName, typer.Option("--decode", help="What decodes JPEGs: cpu, or an NVIDIA gpu.")
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Name or .safetensors file of a model, a folder of transformers' or timm's,"
        " hf:ORG/NAME, or timm:ARCH; may be repeated.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="Name or .safetensors file of the model, a folder of transformers' or timm's,"
        " hf:ORG/NAME, or timm:ARCH.",
    ),
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option("--weights", help="The .safetensors file of a --model timm:ARCH."),
]
AiLabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--ai-label",
        help="A class of a published model that means AI, or 'not NAME'; may be repeated.",
    ),
]
CropsOption = Annotated[
    int, typer.Option("--crops", min=1, max=MAX_CROPS, help="Windows a picture, at most.")
]
MaxFprOption = Annotated[
    float,
    typer.Option(
        "--max-fpr",
        min=0.0,
        max=HIGHEST_MAX_FALSE_POSITIVE_RATE,
        help="Share of real pictures that may be called AI by their score.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to standard output.")]
RemoteOption = Annotated[
    bool, typer.Option("--remote", help="Open URLs: s3, gs, hf, http and https.")
]
RemoteSecondsOption = Annotated[
    float,
    typer.Option(
        "--remote-seconds",
        min=MIN_REMOTE_SECONDS,
        help="With --remote: how long a server may be silent.",
    ),
]
