from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import FakeBackend, noisy, plain, run
from hypothesis import given
from hypothesis import strategies as st

from fakescan.images import read_bytes
from fakescan.pipeline import ScanOptions, scan
from fakescan.records import Source, Status, Unreadable
from fakescan.sources import Shard, SourceFinder, archives
from fakescan.sources.failures import SourceError
from fakescan.sources.tars import read_tar
from fakescan.sources.zips import read_zip
from fakescan.store import Store

PICTURES = {
    "b/2.png": noisy(2),
    "b/.hidden.png": noisy(3),
    "b/notes.txt": b"no picture",
    "a.png": noisy(1),
    "no_suffix": noisy(4),
    ".git/c.png": noisy(5),
    "./d.png": noisy(6),
    "../e.png": noisy(7),
}

SHOWN = ["b/2.png", "a.png", "no_suffix", "./d.png", "../e.png"]


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1_700_000_000
            archive.addfile(entry, io.BytesIO(data))
    return path


def keys(*paths: Path | str, **options: object) -> list[str]:
    return [source.path for source in SourceFinder(map(os.fspath, paths), **options)]  # type: ignore[arg-type]


def read(source: Source) -> bytes | Status:
    data = read_bytes(source)
    return data.status if isinstance(data, Unreadable) else data


Write = Callable[..., Path]
WRITERS = {"zip": write_zip, "tar": write_tar}


@pytest.fixture(params=["zip", "tar"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def archive(protocol: str, tmp_path: Path) -> Path:
    path: Path = WRITERS[protocol](tmp_path / f"x.{protocol}", PICTURES)
    return path


# What is found


def test_members_come_in_the_archives_order_and_others_are_counted(
    archive: Path, protocol: str
) -> None:
    finder = SourceFinder([str(archive)])
    assert [source.path for source in finder] == [
        f"{protocol}://{name}::{archive}" for name in SHOWN
    ]
    assert finder.other_files == 1


def test_hidden_members(archive: Path) -> None:
    assert len(keys(archive, hidden=True)) == 7


def test_members_are_the_files(archive: Path) -> None:
    for source in SourceFinder([str(archive)]):
        assert read(source) == PICTURES[source.name]
        assert source.size_bytes == len(PICTURES[source.name])
        copy = pickle.loads(pickle.dumps(source))
        assert copy == source
        assert read(copy) == PICTURES[source.name]


def test_a_member_and_a_folder_can_be_named(archive: Path, protocol: str) -> None:
    def named(member: str) -> list[str]:
        return keys(f"{protocol}://{member}::{archive}")

    assert named("a.png") == [f"{protocol}://a.png::{archive}"]
    assert named("b/notes.txt") == [f"{protocol}://b/notes.txt::{archive}"]
    assert named(".git/c.png") == [f"{protocol}://.git/c.png::{archive}"]
    assert named("b") == named("b/") == [f"{protocol}://b/2.png::{archive}"]
    assert named(".git") == [f"{protocol}://.git/c.png::{archive}"]
    assert named("") == keys(archive)
    (gone,) = SourceFinder([f"{protocol}://gone.png::{archive}"])
    assert (gone.path, gone.problem) == (f"{protocol}://gone.png::{archive}", Status.NOT_FOUND)


def test_a_member_reached_twice_counts_once(archive: Path, protocol: str) -> None:
    link = archive.with_name(f"link.{protocol}")
    link.symlink_to(archive)
    assert len(keys(archive, f"{protocol}://a.png::{archive}", link, archive)) == 5


def test_members_named_one_by_one_are_looked_up_once(
    archive: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = []
    walk = archives.Archive.members

    def members(self: archives.Archive) -> Iterator[archives.MemberSource]:
        walks.append(self)
        return walk(self)

    monkeypatch.setattr(archives.Archive, "members", members)
    assert len(keys(*(f"{protocol}://{name}::{archive}" for name in SHOWN))) == 5
    assert len(walks) == 1


def test_two_members_of_one_name_have_a_row_each(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for data in (noisy(1), noisy(2)):
            entry = tarfile.TarInfo("a.png")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    found = list(SourceFinder([str(tmp_path / "x.tar")]))
    assert [read(source) for source in found] == [noisy(1), noisy(2)]
    again = list(SourceFinder([f"tar://a.png::{tmp_path / 'x.tar'}"]))
    assert again == found


def test_a_nul_in_a_name_is_shown(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a_b.png": noisy(1)})
    path.write_bytes(path.read_bytes().replace(b"a_b.png", b"a\0b.png"))
    (source,) = SourceFinder([str(path)])
    assert source.name == "a\ufffdb.png"
    assert read(source) == noisy(1)
    assert len(keys(f"zip://a\ufffdb.png::{path}")) == 1


def test_archives_within_folders_are_not_entered(archive: Path) -> None:
    finder = SourceFinder([str(archive.parent)])
    assert list(finder) == []
    assert finder.other_files == 1


def test_shards_of_webdataset(tmp_path: Path) -> None:
    for number in range(3):
        files = {f"{number}{n}.{end}": noisy(n) for n in range(2) for end in ("jpg", "cls")}
        write_tar(tmp_path / f"train-{number:04}.tar", {**files, f"{number}.json": b"{}"})
    # A file counts as an image by its first bytes, whatever its suffix.
    found = keys(f"{tmp_path}/train-{{0000..0002}}.tar")
    assert len(found) == 12
    parts = [
        keys(f"{tmp_path}/train-{{0000..0002}}.tar", shard=Shard(part, 3)) for part in (1, 2, 3)
    ]
    assert sorted(key for part in parts for key in part) == sorted(found)
    assert all(parts)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(tmp_path: Path, form: int) -> None:
    files = {"a.png": b"1", f"{'long/' * 30}{'n' * 60}.png": b"22", "ä ö.png": b"", "d.png": b"4"}
    write_tar(tmp_path / "x.tar", files, form)
    found = list(SourceFinder([str(tmp_path / "x.tar")]))
    assert {source.name: read(source) for source in found} == files
    assert {source.modified_ns for source in found} == {1_700_000_000 * 10**9}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_links_in_a_tar_are_what_they_lead_to(tmp_path: Path, form: int) -> None:
    long = f"d/{'n' * 80}.png"  # ustar holds links of 100 bytes
    files = {long: noisy(1), "d/plain": noisy(2)}
    links = {
        "d/hard.png": (tarfile.LNKTYPE, long),
        "d/no_suffix": (tarfile.LNKTYPE, "d/plain"),
        "soft.png": (tarfile.SYMTYPE, long),
        "d/up.png": (tarfile.SYMTYPE, "../d/./plain"),
        "chain.png": (tarfile.SYMTYPE, "d/up.png"),
        "later.png": (tarfile.SYMTYPE, "last.png"),
        "out.png": (tarfile.SYMTYPE, "/etc/passwd"),
        "gone.png": (tarfile.LNKTYPE, "gone/too.png"),
        "round.png": (tarfile.SYMTYPE, "round.png"),
        "folder": (tarfile.SYMTYPE, "d"),
    }
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, (kind, target) in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            tar.addfile(entry)
        for data in (noisy(3), noisy(4)):  # the second in place of the first
            entry = tarfile.TarInfo("last.png")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    finder = SourceFinder([str(tmp_path / "x.tar")])
    found = [(source.name, read(source)) for source in finder]
    assert found == [
        *files.items(),
        ("d/hard.png", noisy(1)),
        ("d/no_suffix", noisy(2)),
        ("soft.png", noisy(1)),
        ("d/up.png", noisy(2)),
        ("chain.png", noisy(2)),
        ("later.png", noisy(3)),
        *((name, Status.NOT_FOUND) for name in ("out.png", "gone.png", "round.png")),
        ("last.png", noisy(3)),
        ("last.png", noisy(4)),
    ]
    assert finder.other_files == 1


def test_a_hard_link_with_a_long_name(tmp_path: Path) -> None:
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "x.tar", "w", format=form) as tar:
            entry = tarfile.TarInfo(f"{'d' * 150}/a.png")
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"a"))
            link = tarfile.TarInfo("b.png")
            link.type, link.linkname = tarfile.LNKTYPE, entry.name
            tar.addfile(link)
        found = {source.name: read(source) for source in SourceFinder([str(tmp_path / "x.tar")])}
        assert found == {entry.name: b"a", "b.png": b"a"}


def test_folders_and_pipes_in_a_tar_are_passed_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (
            ("d", tarfile.DIRTYPE),
            ("p.png", tarfile.FIFOTYPE),
            ("c.png", tarfile.CHRTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            tar.addfile(entry)
        tar.addfile(tarfile.TarInfo("a.png"))
    assert keys(tmp_path / "x.tar") == [f"tar://a.png::{tmp_path / 'x.tar'}"]


@pytest.mark.skipif(not Path("/bin/tar").exists(), reason="GNU tar writes what Python doesn't")
@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_files_with_holes_in_a_tar_have_a_row(tmp_path: Path, form: str) -> None:
    with open(tmp_path / "a.png", "wb") as file:
        for number in range(40):  # more than one block's worth of a map
            file.seek(number * 1_000_000)
            file.write(b"x" * 5000)
    (tmp_path / "b.png").write_bytes(b"after")
    command = ["tar", f"--format={form}", "-S", "-cf", "x.tar", "a.png", "b.png"]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = list(SourceFinder([str(tmp_path / "x.tar")]))
    assert [read(source) for source in found] == [Status.UNSUPPORTED_FORMAT, b"after"]


# What is broken or hostile


def test_an_encrypted_member_is_a_row(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": noisy(1), "b.png": noisy(2)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    first, second = SourceFinder([str(path)])
    assert first.problem is Status.PERMISSION_DENIED
    assert read(second) == noisy(2)


def test_every_way_of_compression(tmp_path: Path) -> None:
    methods = {
        zipfile.ZIP_STORED: None,
        zipfile.ZIP_DEFLATED: None,
        zipfile.ZIP_BZIP2: None,
        zipfile.ZIP_LZMA: Status.UNSUPPORTED_FORMAT,
    }
    data = noisy(1, (300, 300), ".bmp")
    for method, problem in methods.items():
        write_zip(tmp_path / "x.zip", {"a.bmp": data, "empty.png": b""}, method)
        first, second = SourceFinder([str(tmp_path / "x.zip")])
        assert read(first) == (problem or data)
        assert read(second) == (problem or b"")


def bomb(path: Path, claimed: int, real: int) -> Path:
    """A zip whose one member says that it is `claimed` bytes long, and is `real`."""
    write_zip(path, {"a.png": bytes(real)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", claimed)
    path.write_bytes(data)
    return path


def test_a_member_that_is_longer_than_it_says_stops_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = SourceFinder([str(bomb(tmp_path / "x.zip", 100, 50_000_000))])
    taken = []
    real = zlib.decompressobj

    class Counted:
        def __init__(self, *arguments: int) -> None:
            self._inner = real(*arguments)

        def decompress(self, data: bytes, most: int) -> bytes:
            out = self._inner.decompress(data, most)
            taken.append(len(out))
            return out

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

    monkeypatch.setattr("fakescan.sources.zips.zlib.decompressobj", Counted)
    assert read(source) is Status.CORRUPT
    assert sum(taken) <= 101


def test_a_member_that_is_shorter_than_it_says_is_corrupt(tmp_path: Path) -> None:
    (source,) = SourceFinder([str(bomb(tmp_path / "x.zip", 5_000, 100))])
    assert read(source) is Status.CORRUPT


def test_a_member_that_claims_more_than_any_picture_is_not_read(tmp_path: Path) -> None:
    (source,) = SourceFinder([str(bomb(tmp_path / "x.zip", 0xFFFFFFF0, 100))])
    assert read(source) is Status.TOO_LARGE


def test_another_checksum_is_corrupt(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": noisy(1)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    (source,) = SourceFinder([str(path)])
    assert read(source) is Status.CORRUPT


def test_a_tar_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": noisy(1), "b.png": noisy(2)})
    path.write_bytes(path.read_bytes()[: 512 + -(-len(noisy(1)) // 512) * 512 + 100])
    first, whole = SourceFinder([str(path)])
    assert read(first) == noisy(1)
    assert (whole.path, whole.problem) == (str(path), Status.TRUNCATED)
    # By name, what came before is there, and of what may have come after that is not known.
    named = SourceFinder([f"tar://a.png::{path}", f"tar://b.png::{path}"])
    assert [source.problem for source in named] == [None, Status.TRUNCATED]


@pytest.mark.parametrize("left", [100, 512])
def test_a_tar_that_breaks_off_within_a_member_says_so(tmp_path: Path, left: int) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": noisy(1), "1.json": b"{}" * 2000})
    path.write_bytes(path.read_bytes()[: 1024 + -(-len(noisy(1)) // 512) * 512 + left])
    first, whole = SourceFinder([str(path)])
    assert (read(first), first.problem) == (noisy(1), None)
    assert (whole.path, whole.problem) == (str(path), Status.TRUNCATED)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_that_breaks_off_within_a_long_name_says_so(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=kind) as archive:
        for name in ("a.png", "b" * 300 + ".png"):
            member = tarfile.TarInfo(name)
            member.size = 100
            archive.addfile(member, io.BytesIO(bytes(100)))
    # After the name, and right after the header that announces it.
    for end in (2048, 1536):
        path.write_bytes(path.read_bytes()[:end])
        *_, whole = SourceFinder([str(path)])
        assert (whole.path, whole.problem) == (str(path), Status.TRUNCATED)


@pytest.mark.parametrize("left_out", [1, 2, 1024])
def test_a_tar_may_end_without_empty_blocks(tmp_path: Path, left_out: int) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": noisy(1), "b.json": b"{}" * 100})
    whole = path.read_bytes().rstrip(b"\0")
    assert len(whole) % 512
    path.write_bytes(whole + b"\0" * ((-len(whole) % 512) if left_out > 2 else left_out))
    (source,) = SourceFinder([str(path)])
    assert (read(source), source.problem) == (noisy(1), None)


@pytest.mark.parametrize("size", [2**63 - 600, 2**80])
def test_a_member_larger_than_any_file_is_a_row(tmp_path: Path, size: int) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": noisy(1), "b.png": noisy(2)})
    data = bytearray(path.read_bytes())
    at = 512 + -(-len(noisy(1)) // 512) * 512
    header = tarfile.TarInfo.frombuf(bytes(data[at : at + 512]), "utf-8", "strict")
    header.size = size
    data[at : at + 512] = header.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(data)
    assert [source.problem for source in SourceFinder([str(path)])] == [None, Status.CORRUPT]


@pytest.mark.parametrize("field", [0, 1, 2])
def test_a_zip_member_larger_than_any_file_is_a_row(tmp_path: Path, field: int) -> None:
    # Of zip64's extra field: size, size in the archive, offset of the local header.
    wide = [5, 5, 0]
    wide[field] = 2**64 - 1
    extra = struct.pack("<2H3Q", 1, 24, *wide)
    record = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, *[2**32 - 1] * 2,
                         5, len(extra), 0, 0, 0, 0, 2**32 - 1) + b"a.bin" + extra  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(record), 100, 0)
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\3\4" + bytes(96) + record + end)
    (whole,) = SourceFinder([str(path)])
    assert (whole.path, whole.problem) == (str(path), Status.CORRUPT)


def test_a_damaged_header_ends_a_tar_with_a_row(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a.png": noisy(1), "b.png": noisy(2)})
    data = bytearray(path.read_bytes())
    data[512 + -(-len(noisy(1)) // 512) * 512 + 3] ^= 1
    path.write_bytes(data)
    assert [source.problem for source in SourceFinder([str(path)])] == [None, Status.CORRUPT]


def test_a_zip_without_its_end_is_a_row(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", PICTURES)
    path.write_bytes(path.read_bytes()[:-100])
    (whole,) = SourceFinder([str(path)])
    assert (whole.path, whole.problem) == (str(path), Status.TRUNCATED)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_what_is_no_archive_is_a_file(tmp_path: Path, name: str) -> None:
    for data in (b"", b"no archive", noisy(1)):
        (tmp_path / name).write_bytes(data)
        (source,) = SourceFinder([str(tmp_path / name)])
        assert (source.path, read(source)) == (str(tmp_path / name), data)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar.zst"])
def test_compressed_tars_are_refused(tmp_path: Path, fake_backend: FakeBackend, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    outcome = run("scan", tmp_path / name)
    assert outcome.code == 2
    assert "unpack it, or decompress it to a .tar first." in outcome.stderr
    (tmp_path / "list").write_text(str(tmp_path / name))
    outcome = run("scan", "--list", tmp_path / "list", "--json", "--no-store")
    assert json.loads(outcome.stdout)["status"] == "unsupported_format"


def test_an_archive_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for archive, status in (("gone.zip", Status.NOT_FOUND), ("", Status.NOT_A_REGULAR_FILE)):
        key = f"zip://a.png::{tmp_path / archive}"
        (source,) = SourceFinder([key])
        assert (source.path, source.problem) == (key, status)


def test_a_zip_behind_a_program(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": noisy(1)})
    path.write_bytes(b"MZ" + bytes(1000) + path.read_bytes())
    (source,) = SourceFinder([str(path)])
    assert read(source) == noisy(1)


def test_a_zip_of_wide_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            with archive.open(f"{number}.png", "w", force_zip64=True) as file:
                file.write(noisy(number))
    assert path.read_bytes().count(b"PK\x06\x06") == 1
    assert [read(source) for source in SourceFinder([str(path)])] == [noisy(n) for n in range(3)]


@given(st.integers(0, 2**32))
def test_mutated_archives_never_crash(seed: int) -> None:
    dice = random.Random(seed)
    for form in ("zip", "tar"):
        stream = io.BytesIO()
        if form == "zip":
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
                zipped.writestr("a.png", b"picture" * 50)
                zipped.writestr("b.png", b"")
        else:
            with tarfile.open(fileobj=stream, mode="w", format=dice.choice((0, 1, 2))) as tar:
                for name in ("a" * 60 + "/" + "b" * 60 + ".png", "ä.png"):
                    entry = tarfile.TarInfo(name)
                    entry.size = 7
                    tar.addfile(entry, io.BytesIO(b"picture"))
        data = bytearray(stream.getvalue().rstrip(b"\0") if form == "tar" else stream.getvalue())
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, 0x37))
        if form == "tar" and dice.randrange(2):
            # As who damages it on purpose would.
            data[148:156] = b" " * 8
            data[148:156] = b"%06o\0 " % sum(data[:512])
        data = data[: dice.choice((len(data), dice.randrange(len(data))))]

        def read_at(start: int, size: int, data: bytes = bytes(data)) -> bytes:
            assert start >= 0
            assert 0 <= size <= 1 << 20
            return data[start : start + size]

        try:
            found: list[object] = list(
                read_zip(read_at, len(data)) if form == "zip" else read_tar(read_at)
            )
        except SourceError:
            continue
        assert len(found) < 1000


def test_a_mutated_members_bytes_never_crash(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        path = write_zip(tmp_path / "x.zip", {"a.png": noisy(1)}, method)
        (source,) = SourceFinder([str(path)])
        whole = path.read_bytes()
        dice = random.Random(method)
        for _ in range(100):
            data = bytearray(whole)
            data[dice.randrange(len(data) // 2)] = dice.randrange(256)
            path.write_bytes(data[: dice.choice((len(data), dice.randrange(len(data))))])
            answer = read(source)
            assert answer == noisy(1) or isinstance(answer, Status)


# Scans


def rows(*arguments: Path | str) -> list[dict[str, object]]:
    outcome = run("scan", *arguments, "--json", "--no-store")
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_findings_are_those_of_the_files(
    tmp_path: Path, protocol: str, fake_backend: FakeBackend
) -> None:
    files = {f"{n:02}.png": plain(6 * n) for n in range(40)} | {"broken.jpg": b"\xff\xd8\xff"}
    top = tmp_path / "photos"
    top.mkdir()
    for name, data in files.items():
        (top / name).write_bytes(data)
    archive = WRITERS[protocol](tmp_path / f"x.{protocol}", files)
    ours, plainly = rows(archive), rows(top)
    assert [row["path"] for row in ours] == [f"{protocol}://{name}::{archive}" for name in files]
    for row in (*ours, *plainly):
        del row["path"], row["modified_at"]
    assert ours == plainly


def test_the_store_knows_members(
    archive: Path, protocol: str, tmp_path: Path, fake_backend: FakeBackend
) -> None:
    os.utime(archive, (1_700_000_000, 1_700_000_000))
    for expected in (5, 0):
        with Store(tmp_path / "store") as store:
            fake_backend.batches.clear()
            found = list(scan([archive], store=store))
            assert sum(fake_backend.batches) == expected
            assert [finding.status for finding in found] == [Status.OK] * 5
    # By file, too: without a look into the archive.
    with Store(tmp_path / "store") as store:
        for source in SourceFinder([str(archive)]):
            identity = source.identity()
            assert identity is not None
            key = scan([archive], store=store)._measuring._key(source)
            # A zip's members have no time zone, and so no time; the archive has.
            assert store.find_by_file(*identity, key) is not None
    changed = replace(next(iter(SourceFinder([str(archive)]))), archive=Source("other", 1, 1))
    assert changed.identity() != identity


def test_overlays_of_members(tmp_path: Path, tiny_model: Path, protocol: str) -> None:
    archive = WRITERS[protocol](tmp_path / f"x.{protocol}", {"in/a.png": noisy(1, (40, 40))})
    arguments = ("--model", tiny_model, "--overlay", tmp_path / "o", "--overlay-all")
    (row,) = rows(archive, *arguments)
    assert Path(str(row["overlay"])).name.startswith("a-")
    assert Path(str(row["overlay"])).is_file()


def test_inspect_shows_a_member_and_refuses_an_archive(
    archive: Path, protocol: str, fake_backend: FakeBackend
) -> None:
    shown = run("inspect", f"{protocol}://a.png::{archive}")
    assert (shown.code, f"{protocol}://a.png::{archive}" in shown.stdout) == (0, True)
    refused = run("inspect", archive)
    assert refused.code == 2
    assert "fakescan scan" in refused.stderr


def test_nothing_is_unpacked(
    archive: Path, tmp_path: Path, fake_backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.parent.rglob("*"))
    assert len(list(scan([archive], ScanOptions(isolate=True)))) == 5
    assert sorted(tmp_path.parent.rglob("*")) == before
