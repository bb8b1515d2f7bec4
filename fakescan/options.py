"""What a scan is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fakescan.backends import BackendName, Precision
from fakescan.records import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_CROPS,
    DEFAULT_DECODE_MEMORY,
    DEFAULT_DECODE_SECONDS,
    DEFAULT_MAX_FALSE_POSITIVE_RATE,
    DEFAULT_MAX_PIXELS,
    DEFAULT_REMOTE_SECONDS,
    HIGHEST_MAX_FALSE_POSITIVE_RATE,
    MAX_CROPS,
    MIN_DECODE_MEMORY,
    MIN_DECODE_SECONDS,
    MIN_REMOTE_SECONDS,
    DecoderName,
    FakescanError,
)

_RANGES = {
    "batch_size": (1, math.inf),
    "workers": (1, math.inf),
    "crops": (1, MAX_CROPS),
    "max_pixels": (1, math.inf),
    "max_false_positive_rate": (0.0, HIGHEST_MAX_FALSE_POSITIVE_RATE),
    "remote_seconds": (MIN_REMOTE_SECONDS, math.inf),
    "decode_seconds": (MIN_DECODE_SECONDS, math.inf),
    "decode_memory": (MIN_DECODE_MEMORY, math.inf),
}


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan looks at, with what, and how it judges. `models` empty: all that come along.

    `weights` are the files of models named timm:ARCH, in their order; `ai_labels` name the classes
    of published models that mean AI, where their names don't tell. With `combine` all models that
    fit a picture judge it together. The network is shown at most `crops` windows of a picture (1 to
    `MAX_CROPS`), `batch_size` at a time. `workers` threads read and decode, by default one a core,
    up to 16 (16 where `remote`); pictures of more than `max_pixels` are not decoded. `excluded` are
    files that are never scanned, as real paths; of the folder `overlays` the overlays are not.
    `shard` is `I/N`. With `remote`, URLs are opened, of servers that are silent for at most
    `remote_seconds`. With `isolate`, files are decoded in worker processes, where each may take
    `decode_seconds`, and a process `decode_memory` MiB. Raises FakescanError for a number out of
    its range.
    """

    models: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    ai_labels: tuple[str, ...] = ()
    combine: bool = False
    backend: BackendName = BackendName.AUTO
    device: str = "auto"
    precision: Precision | None = None
    batch_size: int = DEFAULT_BATCH_SIZE
    workers: int | None = None
    crops: int = DEFAULT_CROPS
    watermarks: bool = False
    decode: DecoderName = DecoderName.CPU
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_false_positive_rate: float = DEFAULT_MAX_FALSE_POSITIVE_RATE
    hidden: bool = False
    follow_links: bool = False
    excluded: tuple[str, ...] = ()
    overlays: str | None = None
    rescan: bool = False
    shard: str | None = None
    remote: bool = False
    remote_seconds: float = DEFAULT_REMOTE_SECONDS
    isolate: bool = False
    decode_seconds: float = DEFAULT_DECODE_SECONDS
    decode_memory: int = DEFAULT_DECODE_MEMORY

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                upper = "" if most == math.inf else f", {most} at most"
                raise FakescanError(f"{name} is {value}: {least} at least{upper}")


def describe_settings(options: ScanOptions) -> dict[str, object]:
    """What a report's header says of the settings that its findings depend on."""
    return {
        "backend": options.backend.value,
        "device": options.device,
        "precision": options.precision and options.precision.value,
        "combine": options.combine,
        "crops": options.crops,
        "watermarks": options.watermarks,
        "decode": options.decode.value,
        "max_pixels": options.max_pixels,
        "max_false_positive_rate": options.max_false_positive_rate,
        "hidden": options.hidden,
        "follow_links": options.follow_links,
        "shard": options.shard,
        "isolate": options.isolate,
        "decode_seconds": options.decode_seconds if options.isolate else None,
        "decode_memory": options.decode_memory if options.isolate else None,
    }
