"""File systems of servers, through fsspec: what is in them, and bytes no more than asked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, Protocol, cast

from fakescan.records import FakescanError, Status, how_to_install
from fakescan.sources.failures import HttpError, SourceError, http_status, translated
from fakescan.sources.keys import REMOTE_PROTOCOLS, protocol_of
from fakescan.sources.streams import CHUNK_BYTES, Answer, TranslatedSlice


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server tells of a file without sending it; None where it doesn't."""

    size_bytes: int | None = None
    modified_ns: int | None = None
    etag: str | None = None
    is_folder: bool = False
    problem: Status | None = None


class FileSystem(Protocol):
    """What is asked of a server. What it raises is OSError, as files that it opens do."""

    def facts(self, url: str, *, needs_size: bool) -> Facts:
        """Size and version of a file, or that it is a folder. `needs_size` may cost more."""
        ...

    def open(self, url: str, start: int, stop: int | None, etag: str | None) -> BinaryIO:
        """Bytes from `start` to `stop`, or the end; of the version `etag`, where known."""
        ...


def file_system(url: str, seconds: float) -> FileSystem:
    """The file system of a URL. `seconds` is how long a server may be silent.

    Raises FakescanError where the packages are missing that it takes.
    """
    protocol = REMOTE_PROTOCOLS[protocol_of(url) or ""]
    try:
        import fsspec

        if protocol in {"http", "https"}:
            from aiohttp import ClientTimeout

            timeout = ClientTimeout(total=None, connect=seconds, sock_read=seconds)
            settings = {"timeout": timeout, "trust_env": True}
            return HttpFileSystem(fsspec.filesystem(protocol, client_kwargs=settings))
        if protocol == "s3":
            config = {
                "connect_timeout": seconds,
                "read_timeout": seconds,
                "retries": {"total_max_attempts": 1},
                "max_pool_connections": 32,
            }
            return S3FileSystem(fsspec.filesystem("s3", config_kwargs=config))
        return GenericFileSystem(fsspec.filesystem(protocol, use_listings_cache=False))
    except ImportError as error:
        # fsspec's own speaks for another, which has the name.
        missing = error.name or getattr(error.__cause__, "name", None) or "fsspec"
        name = missing.partition(".")[0]
        raise FakescanError(
            f"{protocol}://: {name} is not installed: {how_to_install('remote')}"
        ) from error


class HttpFileSystem:
    """http:// and https://, of which nothing can be listed."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    @translated()
    def facts(self, url: str, *, needs_size: bool) -> Facts:
        """What HEAD tells; if the size is needed, and HEAD refused, what GET of a byte does."""
        from aiohttp import ClientError
        from fsspec.asyn import sync

        for method in ("HEAD", "GET")[: 1 + needs_size]:
            try:
                headers = sync(self._fs.loop, self._look, method, url)
            except TimeoutError:
                break  # it is the file that matters, and that is asked for next
            except (ClientError, OSError):
                continue
            size = headers.get("Content-Range", "").rpartition("/")[2]
            facts = Facts(
                _whole_number(size or headers.get("Content-Length")),
                _date_ns(headers.get("Last-Modified")),
                _strong(headers.get("ETag")),
            )
            if facts.size_bytes is not None:
                return facts
        return Facts()

    @translated()
    def open(self, url: str, start: int, stop: int | None, etag: str | None) -> BinaryIO:
        """GET, with a range where one is asked for."""
        from fsspec.asyn import sync

        headers = {"Accept-Encoding": "identity"}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            # Ranges of two versions must not be put together.
            headers |= {} if etag is None else {"If-Match": etag}
        response = sync(self._fs.loop, self._get, url, headers)
        if response is None:
            return io.BytesIO()
        return cast("BinaryIO", Answer(self._fs.loop, response.content.read, response.close))

    async def _look(self, method: str, url: str) -> Mapping[str, str]:
        session = await self._fs.set_session()
        headers = {"Accept-Encoding": "identity"}
        if method == "GET":
            headers["Range"] = "bytes=0-0"
        asked = session.request(method, _as_given(url), headers=headers, allow_redirects=True)
        async with asked as response:
            is_told = response.status == (206 if method == "GET" else 200)
            if not is_told or response.headers.get("Content-Encoding"):
                return {}
            answered: Mapping[str, str] = response.headers
            return answered

    async def _get(self, url: str, headers: dict[str, str]) -> Any:
        session = await self._fs.set_session()
        response = await session.get(_as_given(url), headers=headers)
        if response.status == 416:  # it ends before the range
            response.close()
            return None
        if response.status >= 400:
            response.close()
            raise HttpError(response.status)
        if "Range" in headers and response.status != 206:
            # A server that knows no ranges sends the whole, again for every member.
            response.close()
            raise SourceError(Status.READ_ERROR)
        return response


def _as_given(url: str) -> Any:
    from yarl import URL

    # Quoted anew, a signed URL may no longer fit its signature.
    is_quoted = url.isascii() and url.isprintable() and " " not in url
    return URL(url, encoded=is_quoted)


class S3FileSystem:
    """s3:// at any endpoint, by the calls beneath s3fs, which stream and know versions."""

    def __init__(self, fs: Any) -> None:
        fs.retries = 1  # ours are the retries
        self._fs = fs

    @translated()
    def facts(self, url: str, *, needs_size: bool) -> Facts:
        """HEAD of the object, then a listing of one: it may be a folder."""
        return facts_of(self._fs.info(url, refresh=True))

    @translated()
    def open(self, url: str, start: int, stop: int | None, etag: str | None) -> BinaryIO:
        """GetObject, with a range where one is asked for."""
        from fsspec.asyn import sync

        bucket, key, _ = self._fs.split_path(url)
        wanted = {"Bucket": bucket, "Key": key}
        if start or stop is not None:
            wanted["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if etag is not None:
            wanted["IfMatch"] = etag
        try:
            response = sync(self._fs.loop, self._fs._call_s3, "get_object", **wanted)
        except OSError as error:
            if http_status(error) == 416:
                return io.BytesIO()
            raise
        body = response["Body"]
        if "Range" in wanted and response["ResponseMetadata"]["HTTPStatusCode"] != 206:
            self._fs.loop.call_soon_threadsafe(body.close)
            raise SourceError(Status.READ_ERROR)
        return cast("BinaryIO", Answer(self._fs.loop, body.read, body.close))

    @translated()
    def list_page(self, url: str, token: str | None) -> tuple[list[tuple[str, Facts]], str | None]:
        """Up to 1,000 objects below a prefix, in the order of their keys, and the next page."""
        bucket, key, _ = self._fs.split_path(url)
        prefix = key.rstrip("/") + "/" if key.rstrip("/") else ""
        wanted = {"Bucket": bucket, "Prefix": prefix}
        if token is not None:
            wanted["ContinuationToken"] = token
        page = self._fs.call_s3("list_objects_v2", **wanted)
        found = [
            (entry["Key"][len(prefix) :], facts_of({**entry, "size": entry["Size"]}))
            for entry in page.get("Contents", ())
        ]
        return found, page["NextContinuationToken"] if page.get("IsTruncated") else None


class GenericFileSystem:
    """gs://, hf:// and whatever else fsspec knows, trusted to send the ranges asked for."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    @translated()
    def facts(self, url: str, *, needs_size: bool) -> Facts:
        """What fsspec tells of a path."""
        return facts_of(self._fs.info(url))

    @translated()
    def open(self, url: str, start: int, stop: int | None, etag: str | None) -> BinaryIO:
        """A range, through fsspec's own file."""
        file = self._fs.open(url, "rb", block_size=CHUNK_BYTES)
        file.seek(start)
        return cast(
            "BinaryIO", TranslatedSlice(file, sys.maxsize if stop is None else stop - start)
        )

    @translated()
    def list_folder(self, url: str) -> list[tuple[str, Facts]]:
        """The names in a folder, and what is known of each."""
        # Some list the folder itself too, for its marker.
        own = self._fs._strip_protocol(url).rstrip("/")
        found = ((one["name"].rstrip("/"), one) for one in self._fs.ls(url, detail=True))
        return [(name.rpartition("/")[2], facts_of(one)) for name, one in found if name != own]


def facts_of(info: dict[str, Any]) -> Facts:
    """What fsspec's `info`, which names things as each server does, tells of a file."""
    times = (info.get(name) for name in ("LastModified", "mtime", "updated", "created"))
    tags = (info.get(name) for name in ("ETag", "etag", "blob_id"))
    is_folder = info.get("type") == "directory"
    return Facts(
        None if is_folder else _whole_number(info.get("size")),
        next((_date_ns(one) for one in times if one), None),
        next((_strong(one) for one in tags if one), None),
        is_folder,
    )


def _whole_number(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _strong(etag: object) -> str | None:
    # A weak one (RFC 9110) may stay the same while bytes change.
    return etag if isinstance(etag, str) and not etag.startswith("W/") else None


def _date_ns(value: object) -> int | None:
    try:
        if isinstance(value, str):
            is_iso = value[:4].isdigit()
            value = datetime.fromisoformat(value) if is_iso else parsedate_to_datetime(value)
        if not isinstance(value, datetime) or value.tzinfo is None:
            return None
        # Exact in whole numbers: a float has no room for nanoseconds since 1970.
        return int(value.timestamp()) * 10**9 + value.microsecond * 1000
    except (ValueError, TypeError, OverflowError):
        return None
