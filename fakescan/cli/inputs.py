"""What `fakescan scan` is given: paths, lists of paths, and standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fakescan.records import FakescanError

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where paths come from: arguments, lists, and standard input where one is `-`."""

    paths: tuple[str, ...]
    lists: tuple[Path, ...]
    null_separated: bool

    def expand(self) -> Iterator[str]:
        """The paths themselves, as they come. Raises FakescanError for a list that breaks off."""
        from fakescan.sources import read_paths

        separator = b"\0" if self.null_separated else b"\n"
        for path in self.paths:
            if path == STANDARD_INPUT:
                yield from read_paths(sys.stdin.buffer, separator=separator)
            else:
                yield path
        for path_list in self.lists:
            try:
                with path_list.open("rb") as stream:
                    yield from read_paths(stream, separator=separator)
            except OSError as error:
                raise FakescanError(f"--list {path_list}: {error.strerror}.") from error

    @property
    def can_repeat(self) -> bool:
        """Whether `expand` gives the same again: what a pipe held is gone."""
        return STANDARD_INPUT not in self.paths and all(one.is_file() for one in self.lists)

    def check(self, remote_seconds: float | None) -> None:
        """Raise FakescanError for what can't be read, and for URLs if `remote_seconds` is None."""
        from fakescan.sources import check_path

        if not (self.paths or self.lists):
            raise FakescanError(
                "Nothing to scan: name files and folders, or a --list FILE of them."
            )
        if self.null_separated and not (self.lists or STANDARD_INPUT in self.paths):
            raise FakescanError("-0 is of paths from a list: it needs --list FILE, or - as a path.")
        for path_list in self.lists:
            if not os.access(path_list, os.R_OK):
                raise FakescanError(f"--list {path_list}: there is no such file that can be read.")
        for path in self.paths:
            if path != STANDARD_INPUT:
                check_path(path, remote_seconds)
