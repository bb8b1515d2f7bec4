"""From a file's bytes to what is known of it and the crops for a model, here or in a worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fakescan.gates import check_gates
from fakescan.images import crop_positions, cut_crops, decode_image
from fakescan.isolation import IsolatedFunction
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
    from fakescan.records import UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A source after reading: its measurement, and the crops that a detector has yet to see."""

    source: Source
    measurement: Measurement
    detector: int = 0
    positions: tuple[tuple[int, int], ...] = ()
    crops: UInt8Array | None = None
    is_known: bool = False

    @property
    def waiting_crops(self) -> int:
        """How many crops wait for the detector."""
        return 0 if self.crops is None else len(self.crops)


def prepare(
    image: DecodedImage | Unreadable,
    cards: Sequence[ModelCard],
    *,
    crops: int,
    watermarks: bool = False,
) -> Prepared:
    """Read what the file says of itself, and cut the crops that the first fitting model sees.

    `watermarks` looks for open watermarks too, at about 0.1 s a picture.
    """
    if isinstance(image, Unreadable):
        return Prepared(image.source, _measure_unreadable(image))
    provenance = with_evidence(
        read_provenance(image.data, image.media_type),
        read_pixel_marks(image, watermarks=watermarks),
    )
    measurement = Measurement(
        status=Status.OK,
        provenance=provenance,
        abstention=Reason.NO_MODEL_FOR_SIZE,
        sha256=image.sha256,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        orientation=image.orientation,
        has_more_frames=image.has_more_frames,
    )
    for index, card in enumerate(cards):
        refusal = card.domain.refuse(image.width, image.height)
        if refusal is None:
            if card.gates is not None:
                refusal = check_gates(image.pixels, card.gates)
            if refusal is not None:
                # Its domain is the picture's, and no other model's word would count for more.
                return Prepared(image.source, replace(measurement, abstention=refusal))
            size = card.input.size
            positions = crop_positions(image.pixels, size, crops)
            windows = cut_crops(image.pixels, size, positions)
            return Prepared(image.source, measurement, index, positions, windows)
        measurement = replace(measurement, abstention=refusal)
    return Prepared(image.source, measurement)


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
        max_pixels: int,
        seconds: float,
        memory: int,
    ) -> None:
        self._cards = tuple(cards)
        self._crops = crops
        self._watermarks = watermarks
        self._max_pixels = max_pixels
        self._workers = IsolatedFunction(
            _prepare_bytes, seconds=seconds, memory=memory, load=_load_decoders
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
        looks = (self._crops, self._watermarks, self._max_pixels)
        arguments = (source, sha256, status, self._cards, *looks)
        answer = self._workers(data, *arguments, reserve=reserve)
        if isinstance(answer, Status):
            return answer
        try:
            return _unpack(answer, source, self._cards)
        except (ValueError, KeyError, TypeError, IndexError):
            return Status.DECODER_CRASHED  # so thoroughly that it answers nonsense


def _load_decoders() -> None:
    # What is otherwise loaded at first use, and would be loaded within the first file's limits.
    import importlib

    for name in ("pillow_heif", "c2pa"):
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):  # an extra, and libraries that may not load
            continue


def _prepare_bytes(
    data: bytes,
    source: Source,
    sha256: str,
    status: Status | None,
    cards: Sequence[ModelCard],
    crops: int,
    watermarks: bool,
    max_pixels: int,
    *,
    reserve: Callable[[int], None],
) -> bytes:
    if status is None:
        image = decode_image(source, data, sha256=sha256, max_pixels=max_pixels, reserve=reserve)
    else:
        image = Unreadable(source, status, data, sha256, sniff_media_type(data))
    return _pack(prepare(image, cards, crops=crops, watermarks=watermarks))


def _pack(prepared: Prepared) -> bytes:
    """A line of JSON for the measurement, one for the crops' places, and the crops' bytes."""
    places = json.dumps([prepared.detector, prepared.positions])
    crops = b"" if prepared.crops is None else prepared.crops.tobytes()
    return b"\n".join((encode_measurement(prepared.measurement), places.encode(), crops))


def _unpack(data: bytes, source: Source, cards: Sequence[ModelCard]) -> Prepared:
    measurement, places, crops = data.split(b"\n", 2)
    detector, positions = json.loads(places)
    if not positions:
        return Prepared(source, decode_measurement(measurement))
    size = cards[detector].input.size
    return Prepared(
        source,
        decode_measurement(measurement),
        detector,
        tuple((int(x), int(y)) for x, y in positions),
        np.frombuffer(crops, np.uint8).reshape(len(positions), size, size, 3),
    )
