"""Sources as lines of JSON, to hand them to other machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fakescan.records import FakescanError, Source, Status
from fakescan.sources.archives import MemberSource
from fakescan.sources.remote import RemoteSource
from fakescan.sources.zips import ZipEntry

_KINDS: dict[str, type[Source]] = {"file": Source, "url": RemoteSource, "member": MemberSource}


def encode_source(source: Source) -> str:
    """The source as a line of JSON; names of any bytes are kept as surrogate escapes.

    Raises FakescanError for a URL with secrets in it, which must not be written down.
    """
    for one in (source, getattr(source, "archive", None)):
        if isinstance(one, RemoteSource) and one.url != one.path:
            raise FakescanError(
                f"{one.path}: a URL with secrets in it is not written down for workers; give them"
                " credentials in their environment"
            )
    return json.dumps(_with_kind(source))


def _with_kind(source: Source) -> dict[str, Any]:
    (kind,) = (name for name, kind in _KINDS.items() if type(source) is kind)
    fields = asdict(source)
    if isinstance(source, MemberSource):
        fields["archive"] = _with_kind(source.archive)
    return {"kind": kind, **fields}


def decode_source(line: str) -> Source:
    """The source that `encode_source` made `line` of."""
    return _source(json.loads(line))


def _source(fields: dict[str, Any]) -> Source:
    kind = _KINDS[fields.pop("kind")]
    if fields["problem"] is not None:
        fields["problem"] = Status(fields["problem"])
    if kind is MemberSource:
        fields["archive"] = _source(fields["archive"])
        fields["entry"] = fields["entry"] and ZipEntry(**fields["entry"])
    return kind(**fields)
