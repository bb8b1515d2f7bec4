"""What `fakescan scan` is given: paths, lists of paths, and standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from fakescan.records import FakescanError

STANDARD_INPUT = "-"


def real_input(path: str) -> str:
    """The real path of the file that is read for `path`: of a member, that of its archive."""
    from fakescan.sources.keys import split_member

    member = split_member(path)
    return os.path.realpath(path if member is None else member.archive)


def check_remote_seconds(context: typer.Context, remote: bool) -> None:
    """Raise FakescanError where the command was given --remote-seconds in vain."""
    source = context.get_parameter_source("remote_seconds")
    if not remote and source is not None and source.name == "COMMANDLINE":
        raise FakescanError("--remote-seconds needs --remote.")


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

    def real_paths(self) -> dict[str, str]:
        """What is read by the names given here, as real paths, each with the words for it."""
        lists = {os.path.realpath(one): "also a --list" for one in self.lists}
        paths = (path for path in self.paths if path != STANDARD_INPUT)
        return lists | dict.fromkeys(map(real_input, paths), "also to be scanned")

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
