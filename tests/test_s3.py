"""s3:// against moto's server on the loopback: no cloud, and no credentials but made-up ones."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FakeBackend, noisy, plain, run
from loopback import LoopbackServer, endless, failing, serve
from test_archives import write_tar, write_zip
from test_remote import SECRET

from fakescan.images import read_bytes
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import Source, Status, Unreadable
from fakescan.sources import Shard, SourceFinder, failures, servers
from fakescan.store import Store

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """An empty bucket `photos`, as a filler: `bucket(key, data)`."""
    import botocore.session

    for name in tuple(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(failures, "PAUSES", (0.0, 0.0))
    client = botocore.session.get_session().create_client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="photos")

    def fill(key: str, data: bytes) -> None:
        client.put_object(Bucket="photos", Key=key, Body=data)

    yield fill
    while found := client.list_objects_v2(Bucket="photos").get("Contents"):
        client.delete_objects(
            Bucket="photos", Delete={"Objects": [{"Key": one["Key"]} for one in found]}
        )
    client.delete_bucket(Bucket="photos")


def find(*paths: str, **options: Any) -> list[Source]:
    return list(SourceFinder(paths, remote_seconds=5, **options))


def read(source: Source) -> bytes | Status:
    data = read_bytes(source.resolve())
    return data.status if isinstance(data, Unreadable) else data


def rows(*arguments: str | Path) -> list[dict[str, Any]]:
    outcome = run("scan", "--remote", *arguments, "--json", "--no-store")
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_findings_are_those_of_the_files(
    bucket: Any, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    files = {f"{n:02}.png": plain(6 * n) for n in range(40)} | {"broken.jpg": b"\xff\xd8\xff"}
    (tmp_path / "photos").mkdir()
    for name, data in files.items():
        (tmp_path / "photos" / name).write_bytes(data)
        bucket(f"in/{name}", data)
    ours, plainly = rows("s3://photos/in"), rows(tmp_path / "photos")
    assert [row["path"] for row in ours] == [f"s3://photos/in/{name}" for name in files]
    assert all(row["modified_at"] for row in ours)
    for row in (*ours, *plainly):
        del row["path"], row["modified_at"]
    assert ours == plainly
    outcome = run("scan", "--remote", "s3://photos/in/00.png", "--no-store")
    assert SECRET not in outcome.stdout + outcome.stderr


def test_a_listing_is_sorted_and_leaves_out_what_is_hidden(bucket: Any) -> None:
    names = ["b.png", "a/z.png", "é.png", "a.png", "Z.png", ".h.png", ".g/b.png", "a b+c%20?.png"]
    for name in (*names, "notes.txt", "folder/", "a0/y.png"):
        bucket(f"top/{name}", noisy(1))
    bucket("topmost.png", noisy(2))
    expected = [
        *("Z.png", "a b+c%20?.png", "a.png", "a/z.png", "a0/y.png", "b.png", "é.png"),
    ]
    for url in ("s3://photos/top", "s3://photos/top/"):
        finder = SourceFinder([url], remote_seconds=5)
        found = list(finder)
        assert [source.path for source in found] == [f"s3://photos/top/{name}" for name in expected]
        assert finder.other_files == 1
        assert {read(source) for source in found} == {noisy(1)}
    assert len(find("s3://photos/top", hidden=True)) == 9
    assert len(find("s3://photos")) == len(find("s3://photos/")) == 8
    assert len(find("s3://photos/top/a.png", "s3a://photos/top", "s3://photos/top/a.png")) == 7
    parts = [find("s3://photos", shard=Shard(n, 2)) for n in (1, 2)]
    assert sorted(source.path for part in parts for source in part) == sorted(
        source.path for source in find("s3://photos")
    )


def test_a_listing_comes_page_by_page(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        bucket(f"top/{number:02}.png", b"x")
    asked = []
    real = servers.S3FileSystem.list_page

    def list_page(self: Any, url: str, token: str | None) -> Any:
        asked.append(token)
        monkeypatch.setattr(self._fs, "s3_additional_kwargs", {"MaxKeys": 5})
        return real(self, url, token)

    monkeypatch.setattr(servers.S3FileSystem, "list_page", list_page)
    finder = iter(SourceFinder(["s3://photos/top/"], remote_seconds=5))
    first = [next(finder).path for _ in range(5)]
    assert len(asked) == 1
    rest = [source.path for source in finder]
    assert first + rest == [f"s3://photos/top/{number:02}.png" for number in range(12)]
    assert len(asked) == 3


def test_what_is_not_there_is_a_row(bucket: Any) -> None:
    bucket("nameless", noisy(1))
    gone = find("s3://photos/gone", "s3://photos/gone/", "s3://gone", "s3://gone/x/")
    assert [source.problem for source in gone] == [Status.NOT_FOUND] * 4
    assert read(find("s3://photos/gone.png")[0]) is Status.NOT_FOUND
    assert read(find("s3://photos/nameless")[0]) == noisy(1)
    assert find("s3://photos")[:] == []


def test_without_credentials_it_is_a_row(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    bucket("a.png", noisy(1))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    try:
        assert read(find("s3://photos/a.png")[0]) is Status.PERMISSION_DENIED
        assert find("s3://photos/")[0].problem is Status.PERMISSION_DENIED
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def other_endpoint(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """An S3 that can misbehave, in moto's place."""
    import fsspec

    kind = fsspec.get_filesystem_class("s3")
    with serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        kind.clear_instance_cache()
        yield server
        kind.clear_instance_cache()


def test_an_endpoint_that_fails_is_asked_three_times(other_endpoint: LoopbackServer) -> None:
    for times, expected in ((2, noisy(1)), (3, Status.READ_ERROR)):
        other_endpoint.answers["/photos/a.png"] = failing(times, noisy(1))
        other_endpoint.asked.clear()
        assert read(find("s3://photos/a.png")[0]) == expected
        assert other_endpoint.asked["GET /photos/a.png"] == 3


def test_an_endpoint_that_is_silent_or_refuses_is_a_row(other_endpoint: LoopbackServer) -> None:
    other_endpoint.answers["/photos/a.png"] = other_endpoint.hang
    (source,) = SourceFinder(["s3://photos/a.png"], remote_seconds=0.2)
    assert read(source) is Status.READ_ERROR
    other_endpoint.answers["/photos/b.png"] = lambda handler: handler.status(403)
    assert read(find("s3://photos/b.png")[0]) is Status.PERMISSION_DENIED


def test_an_endpoint_that_knows_no_ranges_fills_no_memory(
    other_endpoint: LoopbackServer,
) -> None:
    def whole(handler: Any) -> None:
        if handler.command == "HEAD":
            handler.file(bytes(1000))
        else:
            endless(handler)

    other_endpoint.answers["/photos/x.tar"] = whole
    assert [source.problem for source in find("s3://photos/x.tar")] == [Status.READ_ERROR]


def test_a_changed_object_is_not_taken_for_the_one_that_was_listed(bucket: Any) -> None:
    bucket("a.png", noisy(1))
    (source,) = find("s3://photos/")
    bucket("a.png", noisy(2))
    assert read(source) is Status.READ_ERROR
    (source,) = find("s3://photos/")
    assert read(pickle.loads(pickle.dumps(source))) == noisy(2)


def test_the_store_knows_objects_by_etag(
    bucket: Any, tmp_path: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket("a.png", noisy(1))
    reads = []
    real = servers.S3FileSystem.open

    def opened(self: Any, *arguments: Any) -> Any:
        reads.append(arguments[0])
        return real(self, *arguments)

    monkeypatch.setattr(servers.S3FileSystem, "open", opened)
    for url in ("s3://photos/", "s3://photos/", "s3://photos/a.png"):
        with Store(tmp_path / "store") as store:
            (finding,) = scan([url], ScanOptions(remote=True), store=store)
            assert finding.score is not None
    assert len(reads) == 1
    bucket("a.png", noisy(2))
    with Store(tmp_path / "store") as store:
        list(scan(["s3://photos/"], ScanOptions(remote=True), store=store))
    assert len(reads) == 2


def test_shards_and_zips_in_a_bucket(bucket: Any, tmp_path: Path) -> None:
    files = {f"d/{n}.jpg": noisy(n) for n in range(5)} | {"d/0.cls": b"1"}
    for number in range(2):
        bucket(f"shards/{number:03}.tar", write_tar(tmp_path / "x", files).read_bytes())
    bucket("x.zip", write_zip(tmp_path / "x", files).read_bytes())
    found = find("s3://photos/shards/{000..001}.tar", "s3://photos/x.zip")
    assert [source.path for source in found[::5]] == [
        "tar://d/0.jpg::s3://photos/shards/000.tar",
        "tar://d/0.jpg::s3://photos/shards/001.tar",
        "zip://d/0.jpg::s3://photos/x.zip",
    ]
    assert [read(source) for source in found] == 3 * [noisy(n) for n in range(5)]
    finder = SourceFinder(["s3://photos/"], remote_seconds=5)
    assert list(finder) == []
    assert finder.other_files == 3


def test_overlays_are_drawn_from_what_is_read_again(
    bucket: Any, tmp_path: Path, tiny_model: Path
) -> None:
    bucket("in/a.png", noisy(1, (40, 40)))
    arguments = ("--model", tiny_model, "--overlay", tmp_path / "o", "--overlay-all")
    (row,) = rows("s3://photos/in/", *arguments)
    assert Path(row["overlay"]).name.startswith("a-")
    assert Path(row["overlay"]).is_file()
