from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SUFFIXES, plain
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from fakescan.records import FakescanError, Source, Status
from fakescan.sources import (
    Shard,
    SourceFinder,
    decoding_hint,
    has_image_suffix,
    problem_of,
    read_paths,
    sniff_media_type,
)
from fakescan.sources import finder as finder_module
from fakescan.sources.finder import _RealPaths
from fakescan.sources.formats import OVERLAY_SOFTWARE
from fakescan.sources.temporaries import temporary_path


def find(*paths: Path | str, **options: Any) -> list[str]:
    """The paths found, relative to the first argument's folder."""
    base = os.fspath(paths[0])
    return [
        os.path.relpath(source.path, base)
        for source in SourceFinder([os.fspath(path) for path in paths], **options)
    ]


def problems(*paths: Path, **options: Any) -> dict[str, Status | None]:
    sources = SourceFinder([os.fspath(path) for path in paths], **options)
    return {os.path.basename(source.path): source.problem for source in sources}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    top.mkdir()
    return top


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


# Order and identity


def test_depth_first_names_by_their_bytes(folder: Path) -> None:
    fill(folder, "b.png", "a/z.png", "a/c/1.png", "é.png", "a.png", "Z.png", "z.png", "a0/y.png")
    # "." sorts before "0": a folder "a" comes before "a.png", which comes before "a0".
    found = find(folder)
    assert found == [
        *("Z.png", "a/c/1.png", "a/z.png", "a.png", "a0/y.png", "b.png", "z.png", "é.png"),
    ]


def test_bytes_that_are_no_text_sort_by_their_value(folder: Path) -> None:
    for name in (b"\xff.png", b"\xc3\xa9.png", b"a.png"):
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            file.write(b"x")
    assert [os.fsencode(name) for name in find(folder)] == [
        b"a.png",
        b"\xc3\xa9.png",
        b"\xff.png",
    ]


def test_arguments_as_given(folder: Path) -> None:
    fill(folder, "b/1.png", "a/2.png", "c.png")
    assert find(folder, folder / "c.png", folder / "b", folder / "a")[:1] == ["a/2.png"]
    order = SourceFinder([str(folder / name) for name in ("c.png", "b", "a")])
    assert [os.path.basename(source.path) for source in order] == ["c.png", "1.png", "2.png"]


def test_a_file_reached_twice_counts_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, "a/1.png", "2.png")
    (folder / "link.png").symlink_to("2.png")
    monkeypatch.chdir(folder)
    paths = [folder / "2.png", folder, folder / "a", folder / "a/../a/1.png", folder / "link.png"]
    assert problems(*paths) == {"2.png": None, "1.png": None}
    assert len(list(SourceFinder(["2.png", str(folder / "2.png"), "./2.png"]))) == 1


def test_hidden_entries(folder: Path) -> None:
    fill(folder, ".a.png", ".git/b.png", "c.png")
    assert find(folder) == ["c.png"]
    assert find(folder, hidden=True) == [".a.png", ".git/b.png", "c.png"]


def test_what_is_named_itself_may_be_hidden(folder: Path) -> None:
    fill(folder, ".git/b.png")
    assert find(folder / ".git") == ["b.png"]
    assert problems(folder / ".git/b.png") == {"b.png": None}


# What counts as an image


def test_a_brand_far_back_counts_alike_for_finding_and_for_decoding(folder: Path) -> None:
    brands = b"mp42" * 9 + b"heic"
    head = (16 + len(brands)).to_bytes(4, "big") + b"ftypisom\0\0\0\0" + brands
    assert sniff_media_type(head + b"\0" * 1000) == "image/heic"
    (folder / "no_suffix").write_bytes(head)
    assert find(folder) == ["no_suffix"]
    # What stands further back than the finder reads counts for nobody.
    assert sniff_media_type(head[:16] + b"mp42" * 20 + b"heic") is None


@pytest.mark.parametrize(("suffix", "media_type"), SUFFIXES.items())
def test_an_image_is_known_by_its_first_bytes(folder: Path, suffix: str, media_type: str) -> None:
    data = plain(suffix=suffix)
    assert sniff_media_type(data) == media_type
    (folder / "no_suffix").write_bytes(data)
    (folder / "wrong.txt").write_bytes(data)
    assert find(folder) == ["no_suffix", "wrong.txt"]


def test_any_file_with_an_image_suffix_is_a_source_and_others_are_counted(folder: Path) -> None:
    fill(folder, "a.JPG", "b.heic", "c.cr3", "notes.txt", "sub/movie.mp4", "README")
    finder = SourceFinder([str(folder)])
    assert [os.path.basename(source.path) for source in finder] == ["a.JPG", "b.heic", "c.cr3"]
    assert finder.other_files == 3


def test_what_is_named_itself_is_always_a_source(folder: Path) -> None:
    fill(folder, "notes.txt")
    finder = SourceFinder([str(folder / "notes.txt")])
    assert len(list(finder)) == 1
    assert finder.other_files == 0


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff\xd8",
        b"BMW is a car maker, not a bitmap",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
        b"%PDF-1.7",
    ],
)
def test_other_first_bytes_are_no_image(head: bytes) -> None:
    assert sniff_media_type(head) is None


@pytest.mark.parametrize(
    ("major", "compatible", "media_type"),
    [
        (b"mif1", b"mif1avif", "image/avif"),
        (b"mif1", b"mif1heic", "image/heic"),
        (b"mif1", b"mif1miaf", "image/heif"),
        (b"crx ", b"crx isom", "image/x-canon-cr3"),
    ],
)
def test_a_compatible_brand_tells_more_than_mif1(
    major: bytes, compatible: bytes, media_type: str
) -> None:
    head = b"\0\0\0\x18ftyp" + major + bytes(4) + compatible
    assert sniff_media_type(head) == media_type


def test_source_facts_come_from_the_directory_entry(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"12345")
    os.utime(folder / "a.png", ns=(1, 1_700_000_000_123_456_789))
    path = str(folder / "a.png")
    for paths in ([str(folder)], [path]):
        (found,) = SourceFinder(paths)
        assert found.changed_ns is not None
        assert replace(found, changed_ns=None) == Source(path, 5, 1_700_000_000_123_456_789)


def test_only_what_changes_decoding_is_hinted() -> None:
    assert decoding_hint("a/b.NEF") == ".nef"
    assert decoding_hint("a.jpg") == decoding_hint("b.PNG") != decoding_hint("c.txt")
    assert not has_image_suffix("folder.png/file")


# Links


def test_linked_files_are_read_and_linked_folders_only_when_asked(
    folder: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "elsewhere", "1.png", "2.png")
    (folder / "linked.png").symlink_to(tmp_path / "elsewhere/1.png")
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    assert find(folder) == ["linked.png"]
    assert find(folder, follow_links=True) == ["linked.png", "sub/2.png"]


def test_a_folder_that_links_to_itself_ends(folder: Path) -> None:
    fill(folder, "sub/1.png")
    (folder / "sub/up").symlink_to(folder)
    (folder / "sub/here.png").symlink_to(folder / "sub")
    assert find(folder, follow_links=True) == ["sub/1.png"]


def test_a_link_that_leads_round_in_a_circle(folder: Path) -> None:
    (folder / "a.png").symlink_to("b.png")
    (folder / "b.png").symlink_to("a.png")
    (folder / "c").symlink_to("c")
    assert problems(folder) == {"a.png": Status.READ_ERROR, "b.png": Status.READ_ERROR}
    assert problems(folder / "c") == {"c": Status.READ_ERROR}


def test_a_link_to_nothing(folder: Path) -> None:
    (folder / "a.png").symlink_to("gone.png")
    (folder / "note").symlink_to("gone")
    finder = SourceFinder([str(folder)])
    assert [source.problem for source in finder] == [Status.NOT_FOUND]
    assert finder.other_files == 1


# Trouble


def test_an_empty_folder(folder: Path) -> None:
    finder = SourceFinder([str(folder)])
    assert list(finder) == []
    assert finder.other_files == 0


def test_a_missing_path_and_a_name_with_nul() -> None:
    found = list(SourceFinder(["/no/such/file.png", "nul\0.png"]))
    assert [source.problem for source in found] == [Status.NOT_FOUND, Status.NOT_FOUND]


def test_pipes_and_sockets_are_never_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.jpg"))
        finder = SourceFinder([str(folder)])
        found = {os.path.basename(source.path): source.problem for source in finder}
    assert found == dict.fromkeys(("pipe.png", "socket.jpg"), Status.NOT_A_REGULAR_FILE)
    assert finder.other_files == 1
    assert problems(folder / "pipe") == {"pipe": Status.NOT_A_REGULAR_FILE}


@pytest.mark.timeout(10)
def test_opening_a_pipe_does_not_wait(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(IsADirectoryError):
        Source(str(folder / "pipe")).open()


def test_a_folder_that_cannot_be_listed_gets_a_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, "a/1.png", "locked/2.png", "z.png")
    scandir = os.scandir

    def deny(path: str) -> Any:
        # The tests may run as root, whom nothing is denied.
        if os.path.basename(path) == "locked":
            raise PermissionError(errno.EACCES, "denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    assert problems(folder) == {
        "1.png": None,
        "locked": Status.PERMISSION_DENIED,
        "z.png": None,
    }


def test_files_that_cannot_be_read_get_a_row_whatever_their_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, "locked", "plain")
    open_source = Source.open

    def deny(source: Source) -> Any:
        if source.path.endswith("locked"):
            raise PermissionError(errno.EACCES, "denied", source.path)
        return open_source(source)

    monkeypatch.setattr(Source, "open", deny)
    finder = SourceFinder([str(folder)])
    assert [(os.path.basename(one.path), one.problem) for one in finder] == [
        ("locked", Status.PERMISSION_DENIED)
    ]
    assert finder.other_files == 1


def test_a_range_of_nothing_ends_with_one_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder_module, "MOST_MISSING", 5)
    fill(folder, "4.png", "6.png")

    def found(name: str) -> list[tuple[str, Status | None]]:
        sources = SourceFinder([str(folder / name)])
        return [(os.path.basename(source.path), source.problem) for source in sources]

    missing = Status.NOT_FOUND
    assert found("gone{1..99999999999}.png") == [("gone{1..99999999999}.png", missing)]
    assert found("gone{1..5}.png") == [(f"gone{number}.png", missing) for number in range(1, 6)]
    assert found("{3..99999999999}.png") == [
        ("3.png", missing),
        ("4.png", None),
        ("5.png", missing),
        ("6.png", None),
        *((f"{number}.png", missing) for number in range(7, 12)),
        ("{3..99999999999}.png", missing),
    ]


def test_urls_that_may_not_be_opened_are_rows() -> None:
    urls = {
        "https://user:pass@h/a.jpg?sig=x": ("https://h/a.jpg?sig=...", Status.PERMISSION_DENIED),
        "zip://a.jpg::s3://b/x.zip": ("zip://a.jpg::s3://b/x.zip", Status.PERMISSION_DENIED),
        "ftp://h/a.jpg": ("ftp://h/a.jpg", Status.NOT_FOUND),
        "zip://a.jpg": ("zip://a.jpg", Status.NOT_FOUND),
    }
    assert [(one.path, one.problem) for one in SourceFinder(urls)] == list(urls.values())


def test_files_being_written_are_no_other_files(folder: Path) -> None:
    fill(folder, "notes")
    for name in ("out.csv", "n" * 255):
        temporary_path(folder / name).touch()
    overlay = Image.new("RGB", (8, 8))
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", OVERLAY_SOFTWARE)
    overlay.save(temporary_path(folder / "a-0123456789ab.png"), "PNG", pnginfo=mark)
    (folder / ".mine.tmp-1-0123abcd").write_bytes(plain())
    finder = SourceFinder([str(folder)], hidden=True, overlays=os.path.realpath(folder))
    assert [os.path.basename(source.path) for source in finder] == [".mine.tmp-1-0123abcd"]
    assert finder.other_files == 1


def test_excluded_files_and_folders_are_passed_over(folder: Path, tmp_path: Path) -> None:
    fill(folder, "out.png", "overlays/1.png", "a.png")
    (folder / "link.png").symlink_to("out.png")
    excluded = [os.path.realpath(folder / name) for name in ("out.png", "overlays")]
    assert find(folder, excluded=excluded) == ["a.png"]
    (tmp_path / "other").symlink_to(folder)
    assert find(tmp_path / "other", excluded=excluded) == ["a.png"]


def test_folders_nested_deeper_than_python_recurses(folder: Path) -> None:
    # One step at a time: the whole path is longer than the system takes.
    here = os.open(folder, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    fill(folder, "z.png")
    try:
        assert find(folder)[-1] == "z.png"
    finally:
        # pytest's own way of removing folders recurses.
        subprocess.run(["rm", "-rf", folder / "d"], check=True)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError(), Status.NOT_FOUND),
        (NotADirectoryError(), Status.NOT_FOUND),
        (PermissionError(), Status.PERMISSION_DENIED),
        (IsADirectoryError(), Status.NOT_A_REGULAR_FILE),
        (ValueError("embedded null byte"), Status.NOT_FOUND),
        (OSError(errno.ENAMETOOLONG, "file name too long"), Status.NOT_FOUND),
        (OSError(errno.EIO, "input/output error"), Status.READ_ERROR),
    ],
)
def test_status_of_an_error(error: OSError | ValueError, status: Status) -> None:
    assert problem_of(error) is status


# Shards


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_divide_the_whole(folder: Path, count: int) -> None:
    fill(folder, *(f"{number % 7}/{number}.png" for number in range(60)), "a.txt", "b.txt")
    (folder / "link.png").symlink_to("0/0.png")
    whole = find(folder)
    finders = [
        SourceFinder([str(folder)], shard=Shard(index, count)) for index in range(1, count + 1)
    ]
    parts = [[os.path.relpath(source.path, folder) for source in finder] for finder in finders]
    assert sorted(name for part in parts for name in part) == sorted(whole)
    assert all(part == [name for name in whole if name in set(part)] for part in parts)
    assert all(parts)
    assert sum(finder.other_files for finder in finders) == 2


def test_shards_by_name() -> None:
    assert Shard.parse("2/4") == Shard(2, 4)
    for text in ("0/4", "5/4", "1", "1/", "a/b", "-1/4", "1/4/2", "\u0661/4", ""):
        with pytest.raises(FakescanError, match="write I/N"):
            Shard.parse(text)


@given(st.lists(st.integers(0, 60).map(lambda number: f"{number}.png")))
def test_a_path_is_new_once(names: list[str]) -> None:
    seen, paths = set(), _RealPaths()
    for name in names:
        assert paths.add(name) == (name not in seen)
        seen.add(name)


# Paths on standard input


def test_paths_split_at_newline_or_nul() -> None:
    text = b"a.png\n\nwith space.png\nlast"
    assert list(read_paths(io.BytesIO(text), separator=b"\n")) == [
        *("a.png", "with space.png", "last"),
    ]
    named = b"a\nb.png\0\xff.png\0"
    assert [os.fsencode(path) for path in read_paths(io.BytesIO(named), separator=b"\0")] == [
        b"a\nb.png",
        b"\xff.png",
    ]


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_a_mark_at_the_beginning_of_a_list_is_no_part_of_a_path(separator: bytes) -> None:
    text = separator.join((b"\xef\xbb\xbfa.png", b"\xef\xbb\xbfb.png"))
    assert list(read_paths(io.BytesIO(text), separator=separator)) == ["a.png", "\ufeffb.png"]


def test_a_name_may_begin_with_the_mark(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    fill(folder, "\ufeffa.png")
    text = "\ufeffa.png\r\n".encode()
    assert list(read_paths(io.BytesIO(text), separator=b"\n")) == ["\ufeffa.png"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_refused(encoding: str) -> None:
    stream = io.BytesIO("\ufeffa.png\nb.png\n".encode(encoding))
    with pytest.raises(FakescanError, match="save it as UTF-8"):
        list(read_paths(stream, separator=b"\n"))


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self.left, self.step = data, step

    def read(self, size: int = -1) -> bytes:
        block, self.left = self.left[: self.step], self.left[self.step :]
        return block


@given(
    st.lists(st.binary(min_size=1, max_size=9).filter(lambda name: b"\n" not in name)),
    st.integers(1, 20),
)
def test_paths_survive_any_split_of_the_stream(names: list[bytes], step: int) -> None:
    assume(not any(name.endswith(b"\r") for name in names))
    assume(not names or names[0][:2] not in {b"\xff\xfe", b"\xfe\xff", b"\xef\xbb"})
    stream: Any = Trickle(b"\n".join(names), step)
    assert [os.fsencode(path) for path in read_paths(stream, separator=b"\n")] == names


def test_paths_come_before_the_stream_ends() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", 0) as feed:
        feed.write(b"first.png\n")
        paths = read_paths(stream, separator=b"\n")
        assert next(paths) == "first.png"
