"""Files on servers: found by name or by listing, opened as they come."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO, cast

from fakescan.records import DEFAULT_REMOTE_SECONDS, FakescanError, Source
from fakescan.sources.failures import attempt, problem_of
from fakescan.sources.formats import has_image_suffix
from fakescan.sources.keys import (
    REMOTE_PROTOCOLS,
    check_protocol,
    is_compressed_tar,
    is_hidden,
    is_url,
    name_in,
    protocol_of,
    show,
    split_member,
)
from fakescan.sources.servers import Facts, GenericFileSystem, S3FileSystem, file_system
from fakescan.sources.streams import Slice

WINDOW_BYTES = 1 << 20
"""How much of a remote archive is read at once where its members are looked up."""

WINDOWS_KEPT = 64
"""So many are kept for whoever reads the members, soon after they were found."""


@dataclass(frozen=True, slots=True)
class RemoteSource(Source):
    """A file on a server. `path` is its URL without secrets, `url` the one that opens it.

    `seconds` is how long the server may be silent. Made by `at`.
    """

    url: str = field(default="", repr=False)
    etag: str | None = None
    seconds: float = DEFAULT_REMOTE_SECONDS

    @classmethod
    def at(cls, url: str, seconds: float, facts: Facts | None = None) -> RemoteSource:
        """The file at `url`, with what is known of it already."""
        return cls(show(url), url=url, seconds=seconds).with_facts(facts or Facts())

    @property
    def name(self) -> str:
        """The path within the URL."""
        return name_in(self.path)

    def open(self) -> BinaryIO:
        """Open for reading from the beginning, once: `attempt` tries again. Raises OSError."""
        return self._open(0, None)

    def open_range(self, start: int, stop: int) -> BinaryIO:
        """Open for reading the bytes from `start` to `stop`, of which there may be fewer."""
        known = _WINDOWS.find(self._version, start, stop)
        file = self._open(start, stop) if known is None else io.BytesIO(known)
        return cast("BinaryIO", Slice(file, stop - start))

    def read_window(self, start: int) -> bytes:
        """Up to `WINDOW_BYTES` from `start`, kept a while for `open_range`."""

        def read() -> bytes:
            with self._open(start, start + WINDOW_BYTES) as file:
                return file.read(WINDOW_BYTES)

        known = _WINDOWS.find(self._version, start, start + WINDOW_BYTES)
        data = attempt(read) if known is None else known
        if self._version is not None:
            _WINDOWS.add(self._version, start, data)
        return data

    @property
    def real(self) -> str:
        """The same for all URLs of one file that can be told to be of one."""
        protocol, _, rest = self.url.partition("://")
        return f"{REMOTE_PROTOCOLS[protocol.lower()]}://{rest}"

    @property
    def may_be_folder(self) -> bool:
        """Whether only asking its server tells: of http nothing can be listed."""
        is_listed = protocol_of(self.url) not in {"http", "https"}
        return is_listed and not has_image_suffix(self.name)

    def ask(self, *, needs_size: bool = False) -> Facts:
        """What its server tells of it, that it is a folder too. Raises OSError."""
        if self.may_be_folder and (self.url.endswith("/") or self.url.count("/") == 2):
            return Facts(is_folder=True)  # by its name, or a bucket
        system = file_system(self.url, self.seconds)
        return attempt(lambda: system.facts(self.url, needs_size=needs_size))

    def with_facts(self, facts: Facts) -> RemoteSource:
        """The same file, and what is known of it."""
        return replace(
            self,
            size_bytes=facts.size_bytes,
            modified_ns=facts.modified_ns,
            problem=facts.problem,
            etag=facts.etag,
        )

    def asked(self, *, needs_size: bool = False) -> RemoteSource:
        """With what its server tells of it, or with the problem of asking."""
        try:
            return self.with_facts(self.ask(needs_size=needs_size))
        except OSError as error:
            return replace(self, problem=problem_of(error))

    def resolve(self) -> RemoteSource:
        """As `asked`, where that was not done and may help: a signature for GET fits no HEAD."""
        is_known = self.problem is not None or self.size_bytes is not None
        return self if is_known or self._is_signed else self.asked()

    def identity(self) -> tuple[bytes, int, int, int] | None:
        """By its URL, and its ETag or modification time; None where its server tells neither."""
        if self._is_signed or self.size_bytes is None:
            return None
        if self.etag is not None:
            key = f"{self.path}\0{self.etag}\0{self.modified_ns}"
            return key.encode(errors="surrogatepass"), self.size_bytes, 0, 0
        if self.modified_ns is None:
            return None
        return self.path.encode(errors="surrogatepass"), self.size_bytes, self.modified_ns, 0

    @property
    def _is_signed(self) -> bool:
        # Who holds another secret may be shown another file.
        return "?" in self.url and self.path.partition("?")[2] != self.url.partition("?")[2]

    @property
    def _version(self) -> tuple[str, str] | None:
        known = self.etag or self.modified_ns
        return None if known is None else (self.url, f"{known} {self.size_bytes}")

    def _open(self, start: int, stop: int | None) -> BinaryIO:
        return file_system(self.url, self.seconds).open(self.url, start, stop, self.etag)


class _Windows:
    """The pieces of remote files read last, by the version of the file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[tuple[str, str], int], bytes] = OrderedDict()

    def add(self, version: tuple[str, str], start: int, data: bytes) -> None:
        with self._lock:
            self._kept[version, start] = data
            while len(self._kept) > WINDOWS_KEPT:
                self._kept.popitem(last=False)

    def find(self, version: tuple[str, str] | None, start: int, stop: int) -> bytes | None:
        with self._lock:
            for (kept, begin), data in reversed(self._kept.items()):
                if kept == version and begin <= start and stop <= begin + len(data):
                    return data[start - begin : stop - begin]
        return None


_WINDOWS = _Windows()


def list_folder(url: str, seconds: float, *, hidden: bool) -> Iterator[RemoteSource]:
    """Every file below a folder of a server, sorted by its name's bytes, as the listing comes.

    Of S3 a page is held at once, of others a folder. What can't be listed is one source with a
    problem.
    """
    system = file_system(url, seconds)
    top = url.rstrip("/") if not url.endswith("://") else url
    try:
        listed = _list_s3(system, top) if isinstance(system, S3FileSystem) else _walk(system, top)
        for name, facts in listed:
            if hidden or not is_hidden(name):
                yield RemoteSource.at(f"{top}/{name}", seconds, facts)
    except OSError as error:
        yield replace(RemoteSource.at(url, seconds), problem=problem_of(error))


def _list_s3(system: S3FileSystem, top: str) -> Iterator[tuple[str, Facts]]:
    found, token = attempt(lambda: system.list_page(top, None))
    if not found and top.count("/") > 2:
        raise FileNotFoundError  # a folder that is none: its files are all that there is of one
    while True:
        # A key that ends in a slash stands for a folder.
        yield from ((name, facts) for name, facts in found if name and not name.endswith("/"))
        if token is None:
            return
        found, token = attempt(partial(system.list_page, top, token))


def _walk(system: object, top: str) -> Iterator[tuple[str, Facts]]:
    assert isinstance(system, GenericFileSystem)
    waiting: list[list[tuple[str, Facts]]] = [_entries(system, top, "")]
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        name, facts = waiting[-1].pop()
        if not facts.is_folder:
            yield name, facts
            continue
        try:
            waiting.append(_entries(system, top, name))
        except OSError as error:
            yield name, Facts(problem=problem_of(error))


def _entries(system: GenericFileSystem, top: str, folder: str) -> list[tuple[str, Facts]]:
    found = attempt(lambda: system.list_folder(f"{top}/{folder}"))
    named = [(folder + name + "/" * facts.is_folder, facts) for name, facts in found if name]
    # As S3 sorts: a folder by its name with the slash.
    return sorted(named, key=lambda one: one[0].encode(errors="surrogatepass"), reverse=True)


def check_path(path: str, remote_seconds: float | None) -> None:
    """Raises FakescanError for what a scan can't begin with, before anything is opened.

    URLs are fit where `remote_seconds` is given, and the packages are there that they take.
    """
    check_protocol(path, remote=remote_seconds is not None)
    member = split_member(path)
    if is_compressed_tar(path) and member is None:
        raise FakescanError(
            f"{show(path)}: a compressed tar can't be read a member at a time; unpack it,"
            " or decompress it to a .tar first."
        )
    target = path if member is None else member.archive
    if remote_seconds is not None and is_url(target):
        file_system(target, remote_seconds)
