"""The numbers that several parts share: defaults of a scan, and the ends of what is allowed."""

from __future__ import annotations

DEFAULT_BATCH_SIZE = 64
"""Windows."""

DEFAULT_CROPS = 8

MAX_CROPS = 64

DEFAULT_MAX_PIXELS = 256_000_000
"""Phones reach 200 megapixels; a decoded picture of this size takes 768 MB."""

DEFAULT_MAX_FALSE_POSITIVE_RATE = 0.01
"""Of a thousand real photographs about ten are then called AI by their score."""

HIGHEST_MAX_FALSE_POSITIVE_RATE = 0.5

DEFAULT_REMOTE_SECONDS = 30.0

MIN_REMOTE_SECONDS = 0.1

DEFAULT_DECODE_SECONDS = 30.0

MIN_DECODE_SECONDS = 0.1

DEFAULT_DECODE_MEMORY = 4096
"""MiB."""

MIN_DECODE_MEMORY = 64
"""MiB."""
