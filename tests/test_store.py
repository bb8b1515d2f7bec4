from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import plain
from hypothesis import given
from hypothesis import strategies as st

from fakescan import store as store_module
from fakescan.records import (
    Crop,
    Evidence,
    Measurement,
    ModelOutput,
    Provenance,
    Says,
    Source,
    Status,
    Tier,
)
from fakescan.store import (
    BATCH_ROWS,
    STORE_VERSION,
    Store,
    decode_measurement,
    default_store_path,
    encode_measurement,
)

KEY = "photo 1.0.0 torch fp32"
SHA256 = "9f" * 32
MEASUREMENT = Measurement(
    status=Status.OK,
    provenance=Provenance(
        evidence=(Evidence("png_text", "r", Says.AI, Tier.WEAK, None, "PNG", 41, "a\x00\ud800"),)
    ),
    outputs=(
        ModelOutput("photo", "1", "51", "torch", "fp32", 0.1 + 0.2, (Crop(0, 8, 32, -1e-9),)),
        ModelOutput("other", "2", "52", "torch", "fp32", -1.5, ()),
    ),
    sha256=SHA256,
    width=32,
    height=32,
)
OLD = Source("old.png", 10, 1_700_000_000_123_456_789)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "measurements.sqlite3"


def count_rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    (rows,) = connection.execute("SELECT count(*) FROM measurements").fetchone()
    connection.close()
    return int(rows)


def find(store: Store, source: Source, key: str = KEY) -> Measurement | None:
    identity = source.identity()
    assert identity is not None
    return store.find_by_file(*identity, key)


# Serialisation

# Surrogates too: metadata written as JSON may hold them.
text = st.text(st.characters(exclude_categories=()), max_size=20)


@given(st.builds(Evidence, value=text) | st.builds(Evidence))
def test_every_field_of_evidence_is_kept(evidence: Evidence) -> None:
    measurement = replace(MEASUREMENT, provenance=Provenance(evidence=(evidence, evidence)))
    assert decode_measurement(encode_measurement(measurement)) == measurement


@given(st.from_type(Measurement))
def test_measurements_round_trip_exactly(measurement: Measurement) -> None:
    # NaN is unequal to itself, so representations are compared: they show every bit and type.
    assert repr(decode_measurement(encode_measurement(measurement))) == repr(measurement)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"status":"no"}'])
def test_other_data_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_measurement(data)


# Finding again


def test_found_again_by_content_and_by_file(path: Path) -> None:
    with Store(path) as store:
        assert store.find_by_content(SHA256, KEY) is None
        assert find(store, OLD) is None
        store.put(OLD, MEASUREMENT, KEY)
        assert store.find_by_content(SHA256, KEY) == MEASUREMENT
        assert find(store, OLD) == MEASUREMENT
    with Store(path) as store:
        assert store.notice is None
        assert store.find_by_content(SHA256, KEY) == MEASUREMENT
        assert find(store, OLD) == MEASUREMENT


def test_other_settings_content_size_or_time_are_not_found(path: Path) -> None:
    with Store(path) as store:
        store.put(OLD, MEASUREMENT, KEY)
    with Store(path) as store:
        assert OLD.modified_ns is not None
        assert store.find_by_content(SHA256, "photo 1.0.1 torch fp32") is None
        assert store.find_by_content("00" * 32, KEY) is None
        assert find(store, OLD, "other settings") is None
        assert find(store, replace(OLD, size_bytes=11)) is None
        assert find(store, replace(OLD, modified_ns=OLD.modified_ns + 1)) is None
        assert find(store, replace(OLD, path="new.png")) is None


def test_changed_file_replaces_what_was_known(path: Path) -> None:
    newer = replace(OLD, modified_ns=1_700_000_100 * 10**9)
    changed = replace(MEASUREMENT, sha256="00" * 32)
    with Store(path) as store:
        store.put(OLD, MEASUREMENT, KEY)
    with Store(path) as store:
        store.put(newer, changed, KEY)
        assert find(store, OLD) is None
    with Store(path) as store:
        assert find(store, newer) == changed
        assert find(store, OLD) is None
        assert store.find_by_content(SHA256, KEY) == MEASUREMENT


def test_links_lead_to_the_same_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    with Store(path) as store:
        store.put(replace(OLD, path=str(tmp_path / "link.png")), MEASUREMENT, KEY)
        assert find(store, replace(OLD, path=str(tmp_path / "real.png"))) == MEASUREMENT


def test_name_that_is_not_utf8(path: Path) -> None:
    source = replace(OLD, path=os.fsdecode(b"caf\xe9.png"))
    with Store(path) as store:
        store.put(source, MEASUREMENT, KEY)
    with Store(path) as store:
        assert find(store, source) == MEASUREMENT


@pytest.mark.parametrize("age_seconds", [0.0, 1.5, -3600.0])
def test_file_changed_just_now_is_known_by_content_only(path: Path, age_seconds: float) -> None:
    fresh = replace(OLD, modified_ns=time.time_ns() - int(age_seconds * 1e9))
    with Store(path) as store:
        store.put(fresh, MEASUREMENT, KEY)
        assert find(store, fresh) is None
    with Store(path) as store:
        # Long after, when the time looks settled, it must still be unknown.
        store._settled_before_ns = 2**62
        assert find(store, fresh) is None
        assert store.find_by_content(SHA256, KEY) == MEASUREMENT


def test_file_changed_while_the_scan_runs_is_known_by_content_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(path) as store:
        now = time.time_ns()
        fresh = replace(OLD, modified_ns=now)
        monkeypatch.setattr(time, "time_ns", lambda: now + 3600 * 10**9)
        store.put(fresh, MEASUREMENT, KEY)
    with Store(path) as store:
        assert find(store, fresh) is None


@pytest.mark.parametrize("time_of", ["modified_ns", "changed_ns"])
@pytest.mark.parametrize("odd_ns", [-(2**70), -1, 0, 2**70])
def test_odd_times(path: Path, time_of: str, odd_ns: int) -> None:
    source = replace(OLD, **{time_of: odd_ns})
    with Store(path) as store:
        store.put(source, MEASUREMENT, KEY)
    with Store(path) as store:
        assert store.notice is None
        assert (find(store, source) == MEASUREMENT) == (abs(odd_ns) < 2**63)


@pytest.mark.parametrize("status", Status)
def test_only_what_the_content_decides_is_kept(path: Path, status: Status) -> None:
    measurement = Measurement(status, sha256=SHA256)
    with Store(path) as store:
        store.put(OLD, measurement, KEY)
        assert store.find_by_content(SHA256, KEY) == (measurement if status.is_of_content else None)


def test_without_hash_or_stat(path: Path) -> None:
    with Store(path) as store:
        store.put(OLD, Measurement(Status.EMPTY), KEY)
        assert find(store, OLD) is None
        store.put(Source("https://example.org/a.png"), MEASUREMENT, KEY)
        assert store.find_by_content(SHA256, KEY) == MEASUREMENT


def test_logits_that_are_no_numbers(path: Path) -> None:
    with Store(path) as store:
        output = replace(MEASUREMENT.outputs[0], logit=math.nan)
        store.put(OLD, replace(MEASUREMENT, outputs=(output,)), KEY)
    with Store(path) as store:
        found = store.find_by_content(SHA256, KEY)
        assert found is not None and math.isnan(found.outputs[0].logit)


# Commits


def numbered(number: int) -> Measurement:
    return replace(MEASUREMENT, sha256=f"{number:064x}")


def test_commits_come_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Store(path) as store:
        for number in range(BATCH_ROWS - 1):
            store.put(OLD, numbered(number), KEY)
        assert count_rows(path) == 0
        store.put(OLD, numbered(BATCH_ROWS), KEY)
        assert count_rows(path) == BATCH_ROWS
        store.put(OLD, numbered(1000), KEY)
        assert count_rows(path) == BATCH_ROWS
        now += 1.0
        store.put(OLD, numbered(1001), KEY)
        assert count_rows(path) == BATCH_ROWS + 2


def test_interrupted_scan_is_remembered(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Store(path) as store:
        store.put(OLD, MEASUREMENT, KEY)
        raise KeyboardInterrupt
    assert count_rows(path) == 1


def test_killed_scan_loses_only_the_last_second(path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from fakescan.records import Measurement, Source, Status
from fakescan.store import BATCH_ROWS, Store
with Store(Path(sys.argv[1])) as store:
    for number in range(BATCH_ROWS + 10):
        store.put(Source("a"), Measurement(Status.EMPTY, sha256=f"{number:064x}"), "key")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -9
    with Store(path) as store:
        assert store.notice is None
        assert store.find_by_content(f"{BATCH_ROWS - 1:064x}", "key") is not None


def test_threads_share_a_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BATCH_ROWS", 7)
    missing: list[int] = []

    def work(first: int) -> None:
        for number in range(first, first + 100):
            store.put(replace(OLD, path=f"{number}.png"), numbered(number), KEY)
            if store.find_by_content(f"{number:064x}", KEY) != numbered(number):
                missing.append(number)

    with Store(path) as store:
        threads = [threading.Thread(target=work, args=(first * 100,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.notice is None
    assert missing == []
    assert count_rows(path) == 400


def test_one_of_many_creates_the_store(path: Path) -> None:
    notices: list[str | None] = []

    def work(new_path: Path) -> None:
        barrier.wait()
        with Store(new_path) as store:
            notices.append(store.notice)

    for number in range(10):
        barrier = threading.Barrier(4)
        new_path = path.with_name(f"{number}.sqlite3")
        threads = [threading.Thread(target=work, args=(new_path,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert notices == [None] * 40


def test_processes_share_a_store(path: Path) -> None:
    program = """
import sys
from pathlib import Path
from fakescan import store
from fakescan.records import Measurement, Source, Status
store.BATCH_ROWS = 5
first = int(sys.argv[2])
sys.stdin.read(1)  # both start at once
with store.Store(Path(sys.argv[1])) as shared:
    for number in range(first, first + 200):
        shared.put(Source("a"), Measurement(Status.EMPTY, sha256=f"{number:064x}"), "key")
    shared.find_by_content("0" * 64, "key")
print(shared.notice)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (0, 1000)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[0] == "None\n"
    assert count_rows(path) == 400


# Stores that can't be used


@pytest.mark.parametrize("version", [0, STORE_VERSION - 1])
def test_store_of_an_older_version_is_set_aside(path: Path, version: int) -> None:
    with Store(path) as store:
        store.put(OLD, MEASUREMENT, KEY)
    # The other version is still running, and what it wrote last is only in its log.
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"PRAGMA user_version = {version}")
    other.execute("INSERT INTO measurements VALUES ('00', 'key', x'')")
    with Store(path) as store:
        assert store.notice is not None and "\n" not in store.notice
        assert "set aside as measurements.sqlite3.set-aside-1" in store.notice
        assert store.find_by_content(SHA256, KEY) is None
        store.put(OLD, MEASUREMENT, KEY)
    with Store(path) as store:
        assert store.notice is None
        assert store.find_by_content(SHA256, KEY) == MEASUREMENT
    assert count_rows(path.with_name("measurements.sqlite3.set-aside-1")) == 2
    other.close()


def test_store_of_a_newer_version_is_done_without(path: Path) -> None:
    with Store(path) as store:
        store.put(OLD, MEASUREMENT, KEY)
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {STORE_VERSION + 1}")
    newer.close()
    with Store(path) as store:
        assert store.notice is not None and "nothing is remembered" in store.notice
        assert f"of version {STORE_VERSION + 1}" in store.notice
        store.put(OLD, numbered(1), KEY)
    assert count_rows(path) == 1
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["jpeg", "other", "zeros"])
def test_a_file_that_is_no_store_stays_as_it_is(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "other":
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE files (name TEXT)")
        other.close()
    else:
        path.write_bytes(plain(suffix=".jpg") if kind == "jpeg" else bytes(5000))
    before = path.read_bytes()
    with Store(path) as store:
        assert store.notice is not None and "nothing is remembered" in store.notice
        store.put(OLD, MEASUREMENT, KEY)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_whatever_lies_at_its_own_place_was_a_store() -> None:
    path = default_store_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(5000))
    with Store(path) as store:
        assert store.notice is not None and "set-aside-1" in store.notice


def test_corrupt_stores_are_set_aside_one_by_one(path: Path) -> None:
    path.parent.mkdir()
    for number in (1, 2):
        path.write_bytes(b"SQLite format 3\0" + b"no database %d" % number * 1000)
        with Store(path) as store:
            assert store.notice is not None and f"set-aside-{number}" in store.notice
            store.put(OLD, MEASUREMENT, KEY)
        assert count_rows(path) == 1
        aside = path.with_name(f"measurements.sqlite3.set-aside-{number}")
        assert b"no database %d" % number in aside.read_bytes()


def test_damage_found_while_scanning(path: Path) -> None:
    with Store(path) as store:
        for number in range(2 * BATCH_ROWS):
            store.put(OLD, numbered(number), KEY)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with Store(path) as store:
        assert store.find_by_content(SHA256, KEY) is None
        assert store.notice is not None and "set-aside-1" in store.notice
        store.put(OLD, MEASUREMENT, KEY)
    with Store(path) as store:
        assert store.find_by_content(SHA256, KEY) == MEASUREMENT


def test_damaged_row_is_measured_again(path: Path) -> None:
    with Store(path) as store:
        store.put(OLD, MEASUREMENT, KEY)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE measurements SET json = ?", [b'{"status":"ok"}'])
    connection.commit()
    connection.close()
    with Store(path) as store:
        assert find(store, OLD) is None
        store.put(OLD, MEASUREMENT, KEY)
        assert find(store, OLD) == MEASUREMENT


def test_unusable_folder_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Store(tmp_path / "file" / "measurements.sqlite3") as store:
        assert store.notice is not None and "nothing is remembered" in store.notice
        store.put(OLD, MEASUREMENT, KEY)
        assert store.find_by_content(SHA256, KEY) is None
        assert find(store, OLD) is None


def test_store_that_is_a_folder_is_done_without(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.notice is not None and "nothing is remembered" in store.notice


def test_store_locked_for_long_is_done_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BUSY_SECONDS", 0.05)
    with Store(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        store.put(OLD, MEASUREMENT, KEY)
    assert store.notice is not None and "locked" in store.notice
    other.close()
    assert count_rows(path) == 0


def test_default_path_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    expected = "fakescan/measurements.sqlite3"
    assert str(default_store_path()).endswith(expected)
    if sys.platform == "linux":
        assert default_store_path() == Path("/somewhere", expected)
