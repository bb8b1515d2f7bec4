"""Pictures as a published model's own library prepares them: resized, cut and normalised.

What is done is the model's policy, not ours, and stands on its card as plain data, so that reading
threads and isolated workers can build the same from it.
"""

from __future__ import annotations

import functools
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakescan.memory import is_out_of_memory
from fakescan.records import FakescanError, how_to_install
from fakescan.weights import Library

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from fakescan.records import UInt8Array

    FloatArray = npt.NDArray[np.float32]
    Processor = Callable[[Image.Image], FloatArray]

_MOST_ELONGATED = 64
"""Longer side by shorter: many resize to a shorter side, and would grow the other without end."""

_PROBES = ((640, 480), (480, 640), (64, 64))
"""Widths and heights of blank pictures that show what a processor makes of any."""


def transformers_processor(settings: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """The mapping for a card, of a preprocessor_config.json and config.json's `model_type`."""
    return {
        "library": Library.TRANSFORMERS.value,
        "model_type": model_type,
        "settings": dict(settings),
    }


def timm_processor(data_config: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping for a card, of what timm.data.resolve_model_data_config gives."""
    # As a card read from JSON has it, so that the two compare equal.
    settings = json.loads(json.dumps(dict(data_config)))
    return {"library": Library.TIMM.value, "settings": settings}


def process(pixels: UInt8Array, processor: Mapping[str, Any]) -> FloatArray | None:
    """Upright `pixels` (H, W, 3) as float32 (3, H', W'); None for what the library won't take.

    Raises MemoryError where there is not enough for it.
    """
    import numpy as np
    from PIL import Image

    if max(pixels.shape[:2]) > _MOST_ELONGATED * min(pixels.shape[:2]):
        return None
    return _apply(load_processor(processor), Image.fromarray(np.ascontiguousarray(pixels)))


def processed_sides(processor: Mapping[str, Any]) -> tuple[int, int] | None:
    """(H', W') of whatever is processed; None where it differs from picture to picture.

    Raises FakescanError for a processor that doesn't make one picture of three channels of one.
    """
    from PIL import Image

    load = load_processor(processor)
    shapes = set()
    for size in _PROBES:
        values = _apply(load, Image.new("RGB", size))
        if values is None or values.ndim != 3 or len(values) != 3:
            raise FakescanError("its image processor doesn't make one RGB picture of each picture")
        shapes.add((int(values.shape[1]), int(values.shape[2])))
    return shapes.pop() if len(shapes) == 1 else None


def load_processor(processor: Mapping[str, Any]) -> Processor:
    """What `process` applies, built once. Raises FakescanError where the library can't build it."""
    return _load(json.dumps(processor, sort_keys=True))


def require_library(name: str) -> None:
    """Raise FakescanError where this library of the extra `hub` is not installed."""
    if find_spec(name) is None:
        raise FakescanError(f"{name} is not installed: {how_to_install('hub')}")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' own warnings and bars; what is wrong is said in our words."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _apply(processor: Processor, image: Image.Image) -> FloatArray | None:
    try:
        return processor(image)
    except ValueError:  # as some refuse extreme proportions
        return None
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise


@functools.cache
def _load(text: str) -> Processor:
    processor = json.loads(text)
    require_library(processor["library"])
    if processor["library"] == Library.TIMM:
        return _load_timm(processor["settings"])
    return _load_transformers(processor["settings"], processor["model_type"])


def _load_transformers(settings: dict[str, Any], model_type: str) -> Processor:
    from transformers import AutoImageProcessor

    # It reads folders only, and knows best which class these settings are for.
    with tempfile.TemporaryDirectory(prefix="fakescan-") as name, quiet_transformers():
        folder = Path(name)
        (folder / "preprocessor_config.json").write_text(json.dumps(settings), "utf-8")
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")
        try:
            processor = AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            raise FakescanError(
                "transformers has no image processor for these settings (preprocessor_config.json)"
            ) from error

    def apply(image: Image.Image) -> FloatArray:
        values = processor(images=image, return_tensors="pt")["pixel_values"][0]
        result: FloatArray = values.float().numpy()
        return result

    return apply


def _load_timm(settings: dict[str, Any]) -> Processor:
    from timm.data import create_transform

    lists = {key: tuple(value) for key, value in settings.items() if isinstance(value, list)}
    try:
        transform = create_transform(**{**settings, **lists}, is_training=False)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise FakescanError("timm can't build these transforms (pretrained_cfg)") from error

    def apply(image: Image.Image) -> FloatArray:
        result: FloatArray = transform(image).float().numpy()
        return result

    return apply
