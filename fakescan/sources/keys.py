"""Keys of files that are no plain paths: URLs, members of archives, ranges of numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_plus, urlsplit

from fakescan.records import FakescanError, Status

REMOTE_PROTOCOLS = {
    "http": "http",
    "https": "https",
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "hf": "hf",
}
"""What fakescan opens with --remote, and one name for those that have two."""

ARCHIVE_PROTOCOLS = frozenset(("zip", "tar"))

COMPRESSED_TAR_SUFFIXES = (
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"),
)

# Two letters at least: `C://` is a drive.
_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

# The last `::` parts a member from its archive, save that of an IPv6 address in an archive's URL.
_MEMBER = re.compile(r"(zip|tar)://(.*)(?<!\[)::(?![0-9A-Fa-f:.]*\])(.*)", re.DOTALL)

_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}", re.ASCII)

# Names of query parameters that carry a secret, alone or as a part of a longer name.
_SECRET_NAMES = frozenset(
    ("sig", "key", "code", "pass", "pwd", "jwt", "sid", "hmac", "hdnts", "hdnea", "policy")
)
_SECRET_PARTS = (
    *("signature", "token", "secret", "passw", "credential", "auth", "session"),
    *("apikey", "accesskey", "keyid", "keypair"),
)

HIDDEN = "..."
"""What stands in a key in a secret's place."""


def protocol_of(path: str) -> str | None:
    """The protocol that a path names, in lower case: `s3`, `zip`; None for a plain path."""
    found = _PROTOCOL.match(path)
    return None if found is None else found[1].lower()


@dataclass(frozen=True, slots=True)
class ArchiveKey:
    """A zip or tar, named by its path or URL, and what of it is meant: a member, a folder, all."""

    protocol: str
    member: str
    archive: str


def split_member(path: str) -> ArchiveKey | None:
    """What `zip://MEMBER::ARCHIVE` names; None for what is no such key."""
    found = _MEMBER.fullmatch(path)
    return None if found is None else ArchiveKey(found[1], found[2], found[3])


def parse_archive(path: str) -> ArchiveKey | None:
    """What of which archive `path` names: `zip://MEMBER::ARCHIVE`, or an archive as a whole."""
    suffix = name_in(path)[-4:].lower()
    whole = ArchiveKey(suffix[1:], "", path) if suffix in {".zip", ".tar"} else None
    return split_member(path) or whole


def is_archive(path: str) -> bool:
    """Whether the name is that of an archive as a whole."""
    archive = parse_archive(path)
    return archive is not None and not archive.member


def is_compressed_tar(path: str) -> bool:
    """Whether the name is that of a tar that must be read from its beginning for each member."""
    return name_in(path).lower().endswith(COMPRESSED_TAR_SUFFIXES)


def is_url(path: str) -> bool:
    """Whether the path has a protocol, and is no file here by that very name."""
    return protocol_of(path) is not None and not os.path.lexists(path)


def is_hidden(name: str) -> bool:
    """Whether a part of a name begins with a dot, and means no folder by it."""
    return any(part.startswith(".") and part.strip(".") for part in name.split("/"))


def problem_of_url(path: str, *, remote: bool) -> Status | None:
    """Why a URL can't be opened at all, or not without `remote`; None for what can be tried."""
    member = split_member(path)
    target = path if member is None else member.archive
    if not is_url(target):
        return None
    if protocol_of(target) not in REMOTE_PROTOCOLS:
        return Status.NOT_FOUND  # neither a server that fakescan knows, nor a file of that name
    return None if remote else Status.PERMISSION_DENIED


def check_protocol(path: str, *, remote: bool) -> None:
    """Raises FakescanError for a URL that fakescan doesn't open, or only with `remote`."""
    problem = problem_of_url(path, remote=remote)
    if problem is Status.PERMISSION_DENIED:
        raise FakescanError(f"{show(path)} is remote: add --remote to have it opened.")
    if problem is not None:
        member = split_member(path)
        protocol = protocol_of(path if member is None else member.archive)
        if protocol in ARCHIVE_PROTOCOLS:
            raise FakescanError(
                f"{show(path)}: write {protocol}://MEMBER::ARCHIVE, of one archive."
            )
        known = ", ".join(f"{name}://" for name in REMOTE_PROTOCOLS)
        raise FakescanError(f"{show(path)}: of URLs, fakescan opens {known}.")


def expand_ranges(path: str) -> Iterator[str]:
    """`a-{08..10}.tar` as `a-08.tar`, `a-09.tar`, `a-10.tar`; of several ranges all pairs.

    Numbers are padded to the first one's length where that begins with a zero.
    """
    found = _RANGE.search(path)
    if found is None:
        yield path
        return
    first, last = int(found[1]), int(found[2])
    width = len(found[1]) if found[1].startswith("0") else 0
    for number in range(first, last + 1) if first <= last else range(first, last - 1, -1):
        head = path[: found.start()] + f"{number:0{width}}"
        yield from (head + tail for tail in expand_ranges(path[found.end() :]))


def may_exist(path: str) -> bool:
    """Whether a file is there, or its archive; of URLs only their servers know."""
    member = split_member(path)
    target = path if member is None else member.archive
    return is_url(target) or os.path.lexists(target)


def show(url: str) -> str:
    """A URL as reports may show it: without user and password, secret parameters as `...`.

    Of s3:// and others the question mark is a part of the name, and stays.
    """
    member = split_member(url)
    if member is not None:
        return f"{member.protocol}://{member.member}::{show(member.archive)}"
    protocol = protocol_of(url)
    if protocol is None:
        return url
    head, _, rest = url.partition("://")
    authority_end = min((place for mark in "/?#\\" if (place := rest.find(mark)) >= 0), default=-1)
    authority = rest if authority_end < 0 else rest[:authority_end]
    if "@" in authority:
        rest = rest[authority.rindex("@") + 1 :]
    elif "@" in rest and re.fullmatch(r"[^\[:]*:(|\d*\D.*)", authority, re.DOTALL):
        # A password with a slash in it, which no server will understand.
        rest = rest[rest.rindex("@") + 1 :]
    shown = f"{head}://{rest}"
    return _without_secrets(shown) if protocol in {"http", "https"} else shown


def _without_secrets(url: str) -> str:
    # What follows `#` is for the reader, but some write a token there.
    before, *parts = re.split(r"([?&;#])", url)
    return before + "".join(
        mark + _without_secret(part) for mark, part in zip(parts[::2], parts[1::2], strict=True)
    )


def _without_secret(parameter: str) -> str:
    name, sign, _ = parameter.partition("=")
    plain = unquote_plus(name).casefold()
    letters = re.sub(r"[^a-z0-9]", "", plain)
    is_secret = letters in _SECRET_NAMES or any(part in letters for part in _SECRET_PARTS)
    return f"{name}={HIDDEN}" if sign and is_secret else parameter


def name_in(url: str) -> str:
    """The path within a server or bucket, unquoted for http: what a suffix is read from."""
    protocol = protocol_of(url)
    if protocol is None or protocol in ARCHIVE_PROTOCOLS:
        return url
    if protocol not in {"http", "https"}:
        return url.partition("://")[2].partition("/")[2]
    try:
        path = urlsplit(url).path
    except ValueError:  # an address in brackets that is none
        return url
    return unquote_plus(path.replace("+", "%2B"), errors="replace")
