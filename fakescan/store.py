"""The store: what was measured, by content and settings, so that a scan continues."""

from __future__ import annotations

import functools
import json
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from enum import Enum
from itertools import count
from pathlib import Path
from types import NoneType, TracebackType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

import platformdirs

from fakescan.records import Measurement, Source

STORE_VERSION = 2
"""Of the tables and of what their columns mean: raise it when either changes."""

RACY_NS = 2 * 10**9
"""FAT keeps modification times to two seconds, the coarsest of the file systems in use."""

BATCH_ROWS = 256
BATCH_SECONDS = 1.0
BUSY_SECONDS = 10.0
"""How long to wait for another scan's transaction; they take milliseconds."""

_TABLES = (
    """CREATE TABLE files (
        path BLOB PRIMARY KEY,
        size_bytes INTEGER NOT NULL,
        modified_ns INTEGER NOT NULL,
        changed_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE measurements (
        sha256 TEXT NOT NULL,
        settings_key TEXT NOT NULL,
        json BLOB NOT NULL,
        PRIMARY KEY (sha256, settings_key)
    )""",
    f"PRAGMA user_version = {STORE_VERSION}",
)


_TABLE_NAMES = {"files", "measurements"}

_SQLITE_MAGIC = b"SQLite format 3\0"


class _NotOursError(sqlite3.DatabaseError):
    """A file that is to stay as it is."""


def default_store_path() -> Path:
    """Where the store lies unless told otherwise: in the user's cache folder."""
    return Path(platformdirs.user_cache_dir("fakescan", appauthor=False)) / "measurements.sqlite3"


class Store:
    """Measurements by content and by file, in SQLite; enter it before use.

    `settings_key` names all that a measurement depends on besides the content, such as model,
    crops, backend, precision and program version. Any thread may call, and several processes may
    share a store. A kill loses what was put in the second before.

    The store never stops a scan. What can't be opened or written is done without, and so is a file
    that is no store, or that of a newer fakescan: these stay as they are. A store that is damaged,
    or older, is renamed to `NAME.set-aside-N`. `notice` then says so in one line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notice: str | None = None
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        # Rows wait here and not in an open transaction, which would lock out other processes.
        self._pending_files: dict[bytes, tuple[int, int, int, str]] = {}
        self._pending_measurements: dict[tuple[str, str], bytes] = {}
        self._flushed_at = 0.0
        self._settled_before_ns = 0

    def __enter__(self) -> Self:
        self._flushed_at = time.monotonic()
        # Whatever is read, is read from now on; what was older then can't have changed unseen.
        self._settled_before_ns = time.time_ns() - RACY_NS
        try:
            self._connection = _connect(self.path)
        except (OSError, sqlite3.DatabaseError) as error:
            self._recover(error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._flush()
            self._close()

    def find_by_file(
        self,
        path_bytes: bytes,
        size_bytes: int,
        modified_ns: int,
        changed_ns: int,
        settings_key: str,
    ) -> Measurement | None:
        """What was measured of the file that `Source.identity` says this of, if it is the same."""
        if not self._is_settled(modified_ns, changed_ns):
            return None
        with self._lock:
            known = self._pending_files.get(path_bytes) or self._select(
                "SELECT size_bytes, modified_ns, changed_ns, sha256 FROM files WHERE path = ?",
                path_bytes,
            )
        if known is None or known[:3] != (size_bytes, modified_ns, changed_ns):
            return None
        return self.find_by_content(known[3], settings_key)

    def find_by_content(self, sha256: str, settings_key: str) -> Measurement | None:
        """What was measured of the bytes with this SHA-256 (64 hexadecimal digits)."""
        with self._lock:
            data = self._pending_measurements.get((sha256, settings_key))
            if data is None:
                row = self._select(
                    "SELECT json FROM measurements WHERE sha256 = ? AND settings_key = ?",
                    sha256,
                    settings_key,
                )
                if row is None:
                    return None
                data = row[0]
        try:
            return decode_measurement(data)
        except (ValueError, KeyError, TypeError):
            return None  # damaged, or from before a field was added: it is measured again

    def put(self, source: Source, measurement: Measurement, settings_key: str) -> None:
        """Remember the measurement, unless another reading of the same bytes could end otherwise.

        The file is remembered by size and time as well, unless it changed so lately that it could
        change again and look the same, as git treats files that are "racily clean".
        """
        sha256 = measurement.sha256
        if sha256 is None or not measurement.status.is_of_content or self._connection is None:
            return
        data = encode_measurement(measurement)
        identity = source.identity()
        with self._lock:
            self._pending_measurements[sha256, settings_key] = data
            if identity is not None and self._is_settled(*identity[2:]):
                path_bytes, size_bytes, modified_ns, changed_ns = identity
                self._pending_files[path_bytes] = (size_bytes, modified_ns, changed_ns, sha256)
            if (
                max(len(self._pending_files), len(self._pending_measurements)) >= BATCH_ROWS
                or time.monotonic() - self._flushed_at >= BATCH_SECONDS
            ):
                self._flush()

    def _is_settled(self, modified_ns: int, changed_ns: int) -> bool:
        # SQLite's integers have 64 bits, and some file systems know years before 1678.
        fits = modified_ns >= -(2**63) and -(2**63) <= changed_ns < 2**63
        return fits and modified_ns < self._settled_before_ns

    def _select(self, query: str, *values: object) -> Any:
        if self._connection is None:
            return None
        try:
            return self._connection.execute(query, values).fetchone()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return None

    def _flush(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                [(path, *row) for path, row in self._pending_files.items()],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?)",
                [(*key, data) for key, data in self._pending_measurements.items()],
            )
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._recover(error)
        else:
            self._pending_files.clear()
            self._pending_measurements.clear()
            self._flushed_at = time.monotonic()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _recover(self, error: OSError | sqlite3.DatabaseError) -> None:
        self._close()
        aside = None
        # OperationalError tells of the surroundings (locks, permissions, a full disk), its base
        # class of a file that is no database, damaged, or of an older version.
        if type(error) is sqlite3.DatabaseError and _may_be_store(self.path):
            try:
                aside = _set_aside(self.path)
                self._connection = _connect(self.path)
            except (OSError, sqlite3.DatabaseError) as second_error:
                error = second_error
        if self._connection is None:
            self.notice = f"The store {self.path} can't be used ({error}); nothing is remembered."
        else:
            self.notice = f"The store {self.path} was set aside as {aside} ({error})."


def encode_measurement(measurement: Measurement) -> bytes:
    """The measurement as JSON, exactly: floats by their shortest digits, surrogates kept."""
    text = json.dumps(asdict(measurement), ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="surrogatepass")


def decode_measurement(data: bytes) -> Measurement:
    """The measurement that `encode_measurement` made `data` of.

    Raises ValueError, KeyError or TypeError where the data is of no measurement.
    """
    measurement: Measurement = _decode(Measurement, json.loads(data.decode(errors="surrogatepass")))
    return measurement


_field_types = functools.cache(get_type_hints)


def _decode(kind: Any, value: Any) -> Any:
    if isinstance(kind, UnionType):  # in records.py, always with None
        if value is None:
            return None
        kind = next(member for member in get_args(kind) if member is not NoneType)
    if get_origin(kind) is tuple:
        return tuple(_decode(get_args(kind)[0], item) for item in value)
    if isinstance(kind, type) and is_dataclass(kind):
        types = _field_types(kind)
        return kind(**{name: _decode(types[name], value[name]) for name in types})
    if issubclass(kind, Enum):
        return kind(value)
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected")
    return value


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("BEGIN IMMEDIATE")  # of two scans that start at once, one creates
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not names:
            for statement in _TABLES:
                connection.execute(statement)
        elif not names >= _TABLE_NAMES:
            raise _NotOursError("it is another program's")
        elif version > STORE_VERSION:
            raise _NotOursError(f"it is a newer fakescan's, of version {version}")
        elif version != STORE_VERSION:
            raise sqlite3.DatabaseError(f"of version {version}, not {STORE_VERSION}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")
        # Another process may hold the file just now. WAL only lets scans wait less.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _may_be_store(path: Path) -> bool:
    """Whether a file that can't be read as a store may have been one, by its beginning or place."""
    with suppress(OSError), path.open("rb") as file:
        return path == default_store_path() or file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    return False


def _set_aside(path: Path) -> str:
    """Rename the store to the first free `NAME.set-aside-N`; the new name."""
    aside = next(
        candidate
        for number in count(1)
        if not (candidate := path.with_name(f"{path.name}.set-aside-{number}")).exists()
    )
    path.rename(aside)
    # A log left behind would be taken for the next database's own.
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside.name
