"""From crops to logits: batches for the detectors, and what they say of each picture."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fakescan.backends import Backend
from fakescan.memory import is_out_of_memory
from fakescan.preparation import Prepared, View
from fakescan.records import Crop, Measurement, ModelOutput, Status

if TYPE_CHECKING:
    import numpy.typing as npt


def measure_batch(
    prepared: Sequence[Prepared], detectors: Sequence[Backend], batch_size: int
) -> list[Measurement]:
    """Show each item's views to their detectors, `batch_size` crops at a time; pool the logits."""
    waiting: dict[tuple[int, tuple[int, ...]], list[tuple[int, View]]] = {}
    for place, item in enumerate(prepared):
        for view in item.views:
            # Some published models take pictures of several sizes, which fit into no one batch.
            waiting.setdefault((view.detector, view.crops.shape[1:]), []).append((place, view))
    outputs: list[list[ModelOutput | None]] = [[] for _ in prepared]
    for (index, _), shown in sorted(waiting.items()):
        crops = np.concatenate([view.crops for _, view in shown])
        remaining = iter(_measure_crops(detectors[index], crops, batch_size))
        for place, view in shown:
            own = list(itertools.islice(remaining, len(view.crops)))
            outputs[place].append(_output(detectors[index], view.positions, own))
    return [
        _measurement(item.measurement, own) for item, own in zip(prepared, outputs, strict=True)
    ]


def _measurement(measurement: Measurement, outputs: list[ModelOutput | None]) -> Measurement:
    if not outputs:
        return measurement
    measured = tuple(output for output in outputs if output is not None)
    if len(measured) < len(outputs):
        return replace(measurement, status=Status.OUT_OF_MEMORY, abstention=None)
    return replace(measurement, outputs=measured, abstention=None)


def _measure_crops(
    detector: Backend, crops: npt.NDArray[Any], batch_size: int
) -> list[float | None]:
    """A logit for each crop, and None for one that alone does not fit into memory."""
    logits: list[float | None] = []
    while len(logits) < len(crops):
        batch = crops[len(logits) : len(logits) + batch_size]
        try:
            logits += detector.logits(batch).tolist()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                logits.append(None)
            batch_size = max(1, len(batch) // 2)
    return logits


def _output(
    detector: Backend, positions: tuple[tuple[int, int], ...], found: list[float | None]
) -> ModelOutput | None:
    logits = [logit for logit in found if logit is not None]
    if len(logits) < len(found):
        return None
    card = detector.card
    return ModelOutput(
        name=card.name,
        version=card.version,
        sha256=card.sha256,
        backend=detector.name,
        precision=detector.precision,
        logit=sum(logits) / len(logits),
        crops=tuple(
            Crop(x, y, card.input.size, logit)
            for (x, y), logit in zip(positions, logits, strict=bool(positions))
        ),
    )


def group(prepared: Iterable[Prepared], batch_size: int) -> Iterator[list[Prepared]]:
    """Items in order, in groups that hold about `batch_size` crops between them.

    What waits for no detector goes on at once, unless something before it waits.
    """
    waiting: list[Prepared] = []
    crops = 0
    for item in prepared:
        waiting.append(item)
        crops += item.waiting_crops
        # A long run of items without crops must not hold back the few with some for ever.
        if crops == 0 or crops >= batch_size or len(waiting) >= 4 * batch_size:
            yield waiting
            waiting, crops = [], 0
    if waiting:
        yield waiting
