"""What goes wrong with files: which of it passes, and what it is called here."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from fakescan.records import FakescanError, Status

T = TypeVar("T")

LARGEST_FILE = 1 << 62
"""Bytes: what claims to lie behind can't even be asked for, and nothing of that size exists."""

PAUSES = (0.5, 2.0)
"""Seconds to wait before the second and the third attempt."""

_TRANSIENT_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))
_REFUSED_STATUSES = frozenset((401, 403, 407))
_GONE_STATUSES = frozenset((404, 410))
# What botocore and Google's library raise where the environment holds no credentials.
_CREDENTIAL_ERRORS = frozenset(
    ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "RefreshError")
)


class SourceError(OSError):
    """A file can't be read, and this is its status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.sentence)
        self.status = status

    def __reduce__(self) -> tuple[type[SourceError], tuple[Status]]:
        return type(self), (self.status,)


class TransientError(SourceError):
    """A file can't be read just now; tried again, it may be."""


def problem_of(error: OSError | ValueError) -> Status:
    """The status for an error from opening or reading a file."""
    if isinstance(error, SourceError):
        return error.status
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Status.NOT_FOUND
    if isinstance(error, PermissionError):
        return Status.PERMISSION_DENIED
    if isinstance(error, IsADirectoryError):
        return Status.NOT_A_REGULAR_FILE
    # A NUL in the name, or one longer than any file has.
    if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
        return Status.NOT_FOUND
    return Status.READ_ERROR


class HttpError(OSError):
    """A server answered with an HTTP status that is an error."""

    def __init__(self, status: int) -> None:
        super().__init__(errno.EIO, f"status {status}")
        self.http_status = status


def attempt(action: Callable[[], T]) -> T:
    """`action`'s result, tried up to three times while it raises TransientError."""
    for pause in PAUSES:
        try:
            return action()
        except TransientError:
            time.sleep(pause)
    return action()


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the libraries raise into OSError, TransientError where it may pass.

    Nothing of their messages is kept: they may hold a URL's secrets.
    """
    try:
        yield
    except (FakescanError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001
        # aiohttp, botocore, huggingface_hub and gcsfs have families of errors of their own, and
        # raise what the libraries below them do. Whatever it is, the file has a row.
        raise _translate(error) from None


def http_status(error: BaseException | None) -> int | None:
    """The HTTP status behind an error of any of the libraries, where there is one."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):  # botocore's
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        # gcsfs names it code, as aiohttp does for bodies that break off, which have none.
        is_gcsfs = type(error).__module__.startswith("gcsfs")
        for status in (
            getattr(error, "http_status", None),
            getattr(error, "status", None),  # aiohttp's
            getattr(response, "status_code", response),  # huggingface_hub's
            getattr(error, "code", None) if is_gcsfs else None,
        ):
            if isinstance(status, int):
                return status
        error = error.__cause__
    return None


def _translate(error: Exception) -> OSError:
    status = http_status(error)
    if isinstance(error, (SourceError, IsADirectoryError)):
        return error
    if status in _GONE_STATUSES or isinstance(error, (FileNotFoundError, ValueError)):
        return FileNotFoundError()
    is_refused = type(error).__name__ in _CREDENTIAL_ERRORS or status in _REFUSED_STATUSES
    if is_refused or isinstance(error, PermissionError):
        return PermissionError()
    if status is None or status in _TRANSIENT_STATUSES:
        return TransientError(Status.READ_ERROR)
    return SourceError(Status.READ_ERROR)
