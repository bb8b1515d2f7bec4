"""What a scan looks at, found in order: arguments, folders, archives, servers."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from fakescan.records import Source, Status
from fakescan.sources.archives import Archive, MemberSource
from fakescan.sources.failures import problem_of
from fakescan.sources.formats import (
    HEAD_BYTES,
    has_image_suffix,
    is_overlay,
    is_overlay_name,
    sniff_media_type,
)
from fakescan.sources.keys import (
    ArchiveKey,
    expand_ranges,
    is_compressed_tar,
    is_hidden,
    is_url,
    may_exist,
    parse_archive,
    problem_of_url,
    show,
    split_member,
)
from fakescan.sources.remote import RemoteSource, list_folder
from fakescan.sources.shards import Shard
from fakescan.sources.temporaries import is_temporary_name

MOST_MISSING = 1_000_000
"""Files of a range, one after the other: where more aren't there, the rest isn't looked for."""


class _RealPaths:
    """A set of paths as 16-byte digests, of about 20 bytes each where Python's own takes 90."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(4096)]

    def add(self, path: str) -> bool:
        """Add a path; whether it was new."""
        digest = hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
        bucket = self._buckets[int.from_bytes(digest[:2], "big") % len(self._buckets)]
        place = bucket.find(digest)
        while place >= 0 and place % len(digest):  # the end of one and the beginning of the next
            place = bucket.find(digest, place + 1)
        if place < 0:
            bucket += digest
        return place < 0


# What a folder's entry is. Its name and one of these, with NUL between, are all that is kept of it
# while its folder is walked: a folder may have a million. NUL sorts below all that a name holds.
_FILE, _FOLDER, _LINK, _LINKED_FOLDER = b"\0f", b"\0d", b"\0l", b"\0e"


class SourceFinder:
    """The files that a scan of `paths` looks at: iterate it once.

    Order: arguments as given, then depth first, names by their bytes. A file reached twice counts
    once. An image by its first bytes, or any file with an image suffix, is a source; other files
    are only counted, in `other_files`. What `paths` names itself is always a source. Hidden
    entries are skipped unless `hidden`; links to files are read, links to folders entered only
    with `follow_links`; pipes and devices are never opened. Files and folders in `excluded`, as
    real paths, are passed over: the reports that this very scan writes; so are files in `overlays`
    that are named as overlays are. Of all that, `shard` takes its part.

    A zip or tar that `paths` names is entered, as a folder is; its members come in its own order.
    URLs are opened only where `remote_seconds` tells how long a server may be silent; of folders
    on servers, images are known by suffix alone. Other URLs are sources with a problem, as are
    ranges of numbers from where on `MOST_MISSING` files in a row aren't there.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        hidden: bool = False,
        follow_links: bool = False,
        excluded: Iterable[str] = (),
        overlays: str | None = None,
        shard: Shard | None = None,
        remote_seconds: float | None = None,
    ) -> None:
        self.other_files = 0
        self._paths = paths
        self._hidden = hidden
        self._follow_links = follow_links
        self._excluded = frozenset(excluded)
        self._overlays = overlays
        self._shard = shard
        self._remote_seconds = remote_seconds
        self._seen = _RealPaths()
        self._index = _Index()

    def __iter__(self) -> Iterator[Source]:
        # A file reached twice counts once in the whole, so the whole is walked for every part.
        return (source for source in self._find() if self._is_ours(source.path))

    def _find(self) -> Iterator[Source]:
        for given in self._paths:
            # Who names a file so, means that file.
            is_range = "{" in given and not os.path.lexists(given)
            yield from self._range(given) if is_range else self._named(given)

    def _range(self, given: str) -> Iterator[Source]:
        # What begins with so many that are missing has one row, not one for each.
        is_long = any(islice(expand_ranges(given), MOST_MISSING, None))
        missing = 0
        if is_long and not any(map(may_exist, islice(expand_ranges(given), MOST_MISSING))):
            missing = MOST_MISSING
        for path in expand_ranges(given):
            missing = 0 if missing < MOST_MISSING and may_exist(path) else missing + 1
            if missing > MOST_MISSING:
                yield Source(show(given), problem=Status.NOT_FOUND)
                return
            yield from self._named(path)

    def _named(self, path: str) -> Iterator[Source]:
        problem = problem_of_url(path, remote=self._remote_seconds is not None)
        if problem is not None:
            yield Source(show(path), problem=problem)
            return
        member = split_member(path)
        if is_url(path if member is None else member.archive):
            yield from self._remote(path)
            return
        try:
            status = os.stat(path if member is None else member.archive)
        except (OSError, ValueError) as error:
            yield Source(path, problem=problem_of(error))
            return
        archive = parse_archive(path)
        if stat.S_ISDIR(status.st_mode) and member is None:
            yield from self._walk(path)
        elif archive is not None and stat.S_ISREG(status.st_mode):
            yield from self._enter_archive(_source(archive.archive, status), archive, path)
        elif member is not None:
            yield Source(path, problem=Status.NOT_A_REGULAR_FILE)
        elif self._seen.add(os.path.realpath(path)):
            source = _source(path, status)
            if source.problem is None and is_compressed_tar(path):
                source = replace(source, problem=Status.UNSUPPORTED_FORMAT)
            yield source

    def _remote(self, path: str) -> Iterator[Source]:
        assert self._remote_seconds is not None
        archive = parse_archive(path)
        source = RemoteSource.at(path if archive is None else archive.archive, self._remote_seconds)
        if archive is not None:
            whole = self._index.ask(source)
            if whole.problem is not None:
                yield replace(whole, path=show(path))
            else:
                yield from self._enter_archive(whole, archive, path)
        elif is_compressed_tar(path):
            yield replace(source, problem=Status.UNSUPPORTED_FORMAT)
        elif source.may_be_folder:
            yield from self._ask(source)
        elif self._seen.add(source.real):
            yield source

    def _ask(self, source: RemoteSource) -> Iterator[Source]:
        try:
            facts = source.ask()
        except OSError as error:
            yield replace(source, problem=problem_of(error))
            return
        if facts.is_folder:
            yield from self._list(source)
        elif self._seen.add(source.real):
            yield source.with_facts(facts)

    def _list(self, folder: RemoteSource) -> Iterator[Source]:
        for found in list_folder(folder.url, folder.seconds, hidden=self._hidden):
            if found.problem is not None:
                yield found
            elif not has_image_suffix(found.name):
                self.other_files += self._is_ours(found.path)
            elif self._seen.add(found.real):
                yield found

    def _enter_archive(self, whole: Source, key: ArchiveKey, given: str) -> Iterator[Source]:
        try:
            with Archive(whole, key.protocol) as archive:
                if given == key.archive and not archive.is_what_it_says():
                    yield from self._no_archive(archive)
                else:
                    yield from self._members(archive, key.member, given)
        except OSError as error:
            # What was found before it broke off has its rows, and so has the archive.
            yield replace(whole, path=show(given), problem=problem_of(error))

    def _no_archive(self, archive: Archive) -> Iterator[Source]:
        source = archive.source
        if isinstance(source, RemoteSource) and sniff_media_type(archive.head()) is None:
            source = replace(source, problem=Status.NOT_AN_IMAGE)  # not worth its transfer
        if self._seen.add(_real(source)):
            yield source

    def _members(self, archive: Archive, wanted: str, given: str) -> Iterator[Source]:
        real = _real(archive.source)
        members = iter(self._index.find(archive, wanted) if wanted else archive.members())
        is_found = not wanted
        for member in members:
            is_found = True
            is_named = member.name == wanted
            below = member.name[len(wanted) :]
            if not (is_named or self._hidden) and is_hidden(below):
                continue
            if not (is_named or has_image_suffix(member.name) or archive.begins_as_image(member)):
                self.other_files += self._is_ours(member.path)
            elif self._seen.add(f"{real}\0{member.offset}\0{member.name}"):
                yield member
        if not is_found:
            yield Source(show(given), problem=Status.NOT_FOUND)

    def _is_ours(self, path: str) -> bool:
        return self._shard is None or self._shard.holds(path)

    def _walk(self, top: str) -> Iterator[Source]:
        # An explicit stack: folders may nest deeper than Python recurses.
        stack: list[tuple[str, str, list[bytes]]] = []
        yield from self._enter(top, os.path.realpath(top), stack)
        while stack:
            folder, real_folder, entries = stack[-1]
            if not entries:
                stack.pop()
                continue
            entry = entries.pop()
            name, kind = os.fsdecode(entry[:-2]), entry[-2:]
            path, real = os.path.join(folder, name), os.path.join(real_folder, name)
            if kind in {_LINK, _LINKED_FOLDER}:
                real = os.path.realpath(path)
            if kind in {_FOLDER, _LINKED_FOLDER}:
                yield from self._enter(path, real, stack)
            else:
                yield from self._file(path, real)

    def _enter(
        self, folder: str, real: str, stack: list[tuple[str, str, list[bytes]]]
    ) -> Iterator[Source]:
        if real in self._excluded or not self._seen.add(real):
            return
        try:
            with os.scandir(folder) as entries:
                # Last first, so that each can be let go once it has had its turn.
                ordered = sorted(
                    (
                        os.fsencode(entry.name) + kind
                        for entry in entries
                        if (self._hidden or not entry.name.startswith("."))
                        and ((kind := _kind_of(entry)) != _LINKED_FOLDER or self._follow_links)
                    ),
                    reverse=True,
                )
        except OSError as error:
            # A folder that can't be listed hides files: a row says so.
            yield Source(folder, problem=problem_of(error))
            return
        stack.append((folder, real, ordered))

    def _file(self, path: str, real: str) -> Iterator[Source]:
        if real in self._excluded or self._is_overlay(real):
            return
        is_image = has_image_suffix(path)
        try:
            status = os.stat(path)
            if not is_image and stat.S_ISREG(status.st_mode):
                is_image = sniff_media_type(_read_head(path)) is not None
        except OSError as error:
            # A link that leads nowhere, or a file that is gone by now, may have been no image;
            # one that can't be read may be one.
            if is_image or error.errno not in _NOWHERE:
                yield Source(path, problem=problem_of(error))
            else:
                self.other_files += self._is_ours(path)
            return
        if is_image:
            if self._seen.add(real):
                yield _source(path, status)
        elif not is_temporary_name(os.path.basename(path)):
            self.other_files += self._is_ours(path)

    def _is_overlay(self, real: str) -> bool:
        if os.path.dirname(real) != self._overlays or not is_overlay_name(real):
            return False
        try:
            return is_overlay(_read_head(real))
        except OSError:
            return False


def _kind_of(entry: os.DirEntry[str]) -> bytes:
    is_link = entry.is_symlink()
    try:
        if entry.is_dir():
            return _LINKED_FOLDER if is_link else _FOLDER
    except OSError:  # a link that leads round in a circle
        return _LINK
    return _LINK if is_link else _FILE


_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def _read_head(path: str) -> bytes:
    with Source(path).open() as file:
        return file.read(HEAD_BYTES)


def _source(path: str, status: os.stat_result) -> Source:
    if not stat.S_ISREG(status.st_mode):
        return Source(path, problem=Status.NOT_A_REGULAR_FILE)
    return Source(path, status.st_size, status.st_mtime_ns, changed_ns=status.st_ctime_ns)


def _real(source: Source) -> str:
    return source.real if isinstance(source, RemoteSource) else os.path.realpath(source.path)


class _Index:
    """The archive whose members were named last, so that the next one named finds it looked up."""

    def __init__(self) -> None:
        self._asked: Source | None = None
        self._whole = Source("")
        self._listed: Source | None = None
        self._by_name: dict[str, list[MemberSource]] = {}
        self._break: OSError | None = None

    def ask(self, source: RemoteSource) -> Source:
        """The archive, with what its server tells of it."""
        if source != self._asked:
            self._asked, self._whole = source, source.asked(needs_size=True)
        return self._whole

    def find(self, archive: Archive, wanted: str) -> list[MemberSource]:
        """The member of this name, each if there are several, or all members in this folder.

        Raises OSError as `Archive.members` does, but for a member from before the break.
        """
        if archive.source != self._listed:
            self._listed, self._by_name, self._break = archive.source, {}, None
            try:
                for member in archive.members():
                    self._by_name.setdefault(member.name, []).append(member)
            except OSError as error:
                self._break = error
        if wanted in self._by_name:
            return self._by_name[wanted]
        if self._break is not None:
            raise self._break  # what is asked for may have come after it
        folder = f"{wanted.rstrip('/')}/"
        below = (found for name, found in self._by_name.items() if name.startswith(folder))
        return [member for found in below for member in found]
