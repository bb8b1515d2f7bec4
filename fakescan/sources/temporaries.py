"""The names under which files are written until they are complete."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_NAME = 255
"""Bytes, in the file systems in use."""

_NAME = re.compile(r"\..+\.tmp-\d+-[0-9a-f]{8}", re.DOTALL)


def temporary_path(target: Path) -> Path:
    """A new hidden name in the same folder, for what is to become `target` once it is complete.

    The random part keeps a killed run's leftovers, and other people's links, out of the way.
    """
    ending = f".tmp-{os.getpid()}-{secrets.token_hex(4)}"
    stem = target.name.encode(errors="ignore")[: LONGEST_NAME - 1 - len(ending)]
    return target.with_name(f".{stem.decode(errors='ignore')}{ending}")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path to write, which takes `target`'s place at the end, if nothing was raised."""
    temporary = temporary_path(target)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def is_temporary_name(name: str) -> bool:
    """Whether a file, by its name, is one that is being written, or was when its writer died."""
    return _NAME.fullmatch(name) is not None
