"""Marks written into pixels: stealth settings in the lowest bits, and open watermarks."""

from __future__ import annotations

from fakescan.records import DecodedImage, Evidence


def read_pixel_marks(image: DecodedImage, *, watermarks: bool = False) -> tuple[Evidence, ...]:
    """Placeholder until the readers stand."""
    return ()
