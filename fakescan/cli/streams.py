"""Standard output and error, whose reader may leave early: `| head`."""

from __future__ import annotations

import os
import sys
from typing import TextIO


class ReaderLeftError(SystemExit):
    """Who reads standard output has seen enough: an end without an error, unless it is caught."""


def drop_output(stream: TextIO | None = None) -> None:
    """From here on `stream`, or standard output, leads nowhere: nobody reads it any more."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), (stream or sys.stdout).fileno())
