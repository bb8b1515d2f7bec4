"""From a file's bytes to what is known of it and the crops for a model, here or in a worker."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from fakescan.gates import check_gates
from fakescan.images import crop_positions, cut_crops, decode_image, upright
from fakescan.isolation import IsolatedFunction
from fakescan.processing import load_processor, process
from fakescan.provenance import read_pixel_marks, read_provenance, with_evidence
from fakescan.records import (
    DecodedImage,
    Measurement,
    MetadataStatus,
    Provenance,
    Reason,
    Source,
    Status,
    Unreadable,
)
from fakescan.sources import sniff_media_type
from fakescan.store import decode_measurement, encode_measurement
from fakescan.weights import ModelCard

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a detector, by its index, has yet to see of a picture.

    Windows uint8 (N, S, S, 3) at `positions`; or, for a published model, the whole picture as its
    own library prepared it: float32 (1, 3, H, W), and no positions.
    """

    detector: int
    positions: tuple[tuple[int, int], ...]
    crops: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A source after reading: its measurement, and a view for each detector that judges it."""

    source: Source
    measurement: Measurement
    views: tuple[View, ...] = ()
    is_known: bool = False

    @property
    def waiting_crops(self) -> int:
        """How many crops wait for detectors."""
        return sum(len(view.crops) for view in self.views)


def decoder_versions() -> dict[str, str]:
    """The libraries that decode, and their versions: pixels and failures depend on both."""
    return {name: version(name) for name in ("pillow", "pillow-heif", "simplejpeg")}


def prepare(
    image: DecodedImage | Unreadable,
    cards: Sequence[ModelCard],
    *,
    crops: int,
    watermarks: bool = False,
    combine: bool = False,
) -> Prepared:
    """Read what the file says of itself, and cut the crops that the first fitting model sees.

    With `combine` all fitting models see theirs. `watermarks` looks for open watermarks too, at
    about 0.1 s a picture.
    """
    if isinstance(image, Unreadable):
        return Prepared(image.source, _measure_unreadable(image))
    provenance = with_evidence(
        read_provenance(image.data, image.media_type),
        read_pixel_marks(image, watermarks=watermarks),
    )
    views: list[View] = []
    abstention = Reason.NO_MODEL_FOR_SIZE
    for index, card in enumerate(cards):
        view = _show(image, index, card, crops)
        if isinstance(view, View):
            views.append(view)
        elif view != Reason.NO_MODEL_FOR_SIZE:
            abstention = view
        if view != Reason.NO_MODEL_FOR_SIZE and not combine:
            break  # its domain is the picture's, and no other model's word would count for more
    measurement = Measurement(
        status=Status.OK,
        provenance=provenance,
        abstention=abstention,
        sha256=image.sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        orientation=image.orientation,
        has_more_frames=image.has_more_frames,
    )
    return Prepared(image.source, measurement, tuple(views))


def _show(image: DecodedImage, index: int, card: ModelCard, crops: int) -> View | Reason:
    """What the model at `index` is shown, or why it doesn't judge; by size only its domain does."""
    refusal = card.domain.refuse(image.width, image.height)
    if refusal is None and card.gates is not None:
        refusal = check_gates(image.pixels, card.gates)
    if refusal is not None:
        return refusal
    if card.input.processor is not None:
        # Its library's own pipelines turn pictures upright before anything else.
        whole = process(upright(image.pixels, image.orientation), card.input.processor)
        return Reason.OUTSIDE_DOMAIN if whole is None else View(index, (), whole[None])
    size = card.input.size
    positions = crop_positions(image.pixels, size, min(crops, card.input.windows or crops))
    return View(index, positions, cut_crops(image.pixels, size, positions))


def _measure_unreadable(image: Unreadable) -> Measurement:
    provenance = (
        Provenance(metadata_status=MetadataStatus.UNREAD)
        if image.data is None
        else read_provenance(image.data, image.media_type)
    )
    return Measurement(
        status=image.status,
        provenance=provenance,
        sha256=image.sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
    )


class IsolatedPreparation:
    """Decoding and `prepare` in worker processes: a file that ends its worker gets a status."""

    def __init__(
        self,
        cards: Sequence[ModelCard],
        *,
        crops: int,
        watermarks: bool,
        combine: bool,
        max_pixels: int,
        seconds: float,
        memory: int,
    ) -> None:
        self._cards = tuple(cards)
        self._crops = crops
        self._watermarks = watermarks
        self._combine = combine
        self._max_pixels = max_pixels
        self._workers = IsolatedFunction(
            _prepare_bytes, seconds=seconds, memory=memory, load=partial(_load, self._cards)
        )

    def __call__(
        self, source: Source, data: bytes, sha256: str, reserve: Callable[[int], None]
    ) -> Prepared:
        """Prepare `data`, the bytes of `source`, with this SHA-256."""
        answer = self._call(source, data, sha256, None, reserve)
        if isinstance(answer, Prepared):
            return answer
        # Without decoding: what the file says of itself may still be read.
        second = self._call(source, data, sha256, answer, reserve)
        if isinstance(second, Prepared):
            return second
        unread = Unreadable(source, answer, sha256=sha256, media_type=sniff_media_type(data))
        return prepare(unread, self._cards, crops=self._crops)

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def _call(
        self,
        source: Source,
        data: bytes,
        sha256: str,
        status: Status | None,
        reserve: Callable[[int], None],
    ) -> Prepared | Status:
        looks = (self._crops, self._watermarks, self._combine, self._max_pixels)
        arguments = (source, sha256, status, self._cards, *looks)
        answer = self._workers(data, *arguments, reserve=reserve)
        if isinstance(answer, Status):
            return answer
        try:
            return _unpack(answer, source, self._cards)
        except (ValueError, KeyError, TypeError, IndexError):
            return Status.DECODER_CRASHED  # so thoroughly that it answers nonsense


def _load(cards: Sequence[ModelCard]) -> None:
    # What is otherwise loaded at first use, and would be loaded within the first file's limits.
    import importlib

    for name in ("pillow_heif", "c2pa"):
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):  # an extra, and libraries that may not load
            continue
    for card in cards:
        if card.input.processor is not None:
            load_processor(card.input.processor)


def _prepare_bytes(
    data: bytes,
    source: Source,
    sha256: str,
    status: Status | None,
    cards: Sequence[ModelCard],
    crops: int,
    watermarks: bool,
    combine: bool,
    max_pixels: int,
    *,
    reserve: Callable[[int], None],
) -> bytes:
    if status is None:
        image = decode_image(source, data, sha256=sha256, max_pixels=max_pixels, reserve=reserve)
    else:
        image = Unreadable(source, status, data, sha256, sniff_media_type(data))
    return _pack(prepare(image, cards, crops=crops, watermarks=watermarks, combine=combine))


def _pack(prepared: Prepared) -> bytes:
    """A line of JSON for the measurement, one that describes the views, and their crops' bytes."""
    views = [[view.detector, view.positions, view.crops.shape[2:]] for view in prepared.views]
    crops = b"".join(view.crops.tobytes() for view in prepared.views)
    return b"\n".join((encode_measurement(prepared.measurement), json.dumps(views).encode(), crops))


def _unpack(data: bytes, source: Source, cards: Sequence[ModelCard]) -> Prepared:
    measurement, described, crops = data.split(b"\n", 2)
    views = []
    for detector, positions, sides in json.loads(described):
        card, size = cards[detector], cards[detector].input.size
        if card.input.processor is None:
            shape: tuple[int, ...] = (len(positions), size, size, 3)
            kind: type[np.generic] = np.uint8
        else:
            height, width = sides
            shape, kind = (1, 3, height, width), np.float32
        count = math.prod(shape)
        values = np.frombuffer(crops, kind, count).reshape(shape)
        crops = crops[values.nbytes :]
        views.append(View(detector, tuple((int(x), int(y)) for x, y in positions), values))
    return Prepared(source, decode_measurement(measurement), tuple(views))
