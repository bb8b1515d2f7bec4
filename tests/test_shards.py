from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import FakeBackend, noisy, plain, run
from hypothesis import given
from hypothesis import strategies as st

from fakescan.pipeline import ScanOptions, scan
from fakescan.records import FakescanError
from fakescan.sources import Shard, SourceFinder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    for number in range(40):
        path = top / f"{number % 3}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(plain(number))
    (top / "notes.txt").write_text("no picture")
    # A link to a file that has a row already, by another name and so perhaps in another part.
    for number in range(10):
        (top / f"link-{number}.png").symlink_to(top / "0" / f"{3 * number:02}.png")
    return top


def paths(folder: Path, shard: Shard | None = None) -> tuple[list[str], int]:
    finder = SourceFinder([str(folder), str(folder / "gone.png")], shard=shard)
    return [source.path for source in finder], finder.other_files


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_parts_are_the_whole_in_order_and_share_nothing(folder: Path, count: int) -> None:
    whole, others = paths(folder)
    assert len(whole) == 41
    parts = [paths(folder, Shard(index, count)) for index in range(1, count + 1)]
    assert sorted(path for part, _ in parts for path in part) == sorted(whole)
    assert sum(part_others for _, part_others in parts) == others == 1
    for part, _ in parts:
        assert part == [path for path in whole if path in set(part)]


def test_a_division_is_the_same_on_every_machine() -> None:
    names = [f"photos/{number:03}.jpg" for number in range(12)]
    assert [next(i for i in (1, 2, 3) if Shard(i, 3).holds(name)) for name in names] == [
        1,
        3,
        1,
        3,
        1,
        3,
        2,
        2,
        1,
        2,
        2,
        3,
    ]


def test_parts_are_about_equal() -> None:
    held = [sum(Shard(i, 4).holds(f"{n}.jpg") for n in range(4_000)) for i in range(1, 5)]
    assert all(900 < count < 1_100 for count in held)


@given(st.text(max_size=8))
def test_other_text_is_no_shard(text: str) -> None:
    try:
        shard = Shard.parse(text)
    except FakescanError as error:
        assert "such as 1/4" in str(error)
    else:
        assert 1 <= shard.index <= shard.count


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/2", "1/2/3", "\u0661/2", " 1/2"])
def test_what_is_no_shard_is_said_beforehand(
    folder: Path, fake_backend: FakeBackend, text: str
) -> None:
    with pytest.raises(FakescanError, match="--shard"):
        scan([folder], ScanOptions(shard=text))


def test_reports_of_parts_add_up(folder: Path, tmp_path: Path, fake_backend: FakeBackend) -> None:
    whole = run("scan", folder, "--json", "--no-store").stdout.splitlines()
    parts = [
        run("scan", folder, "--json", "--no-store", "--shard", f"{index}/3").stdout.splitlines()
        for index in (1, 2, 3)
    ]
    assert sorted(line for part in parts for line in part) == sorted(whole)
    run("scan", folder, "--no-store", "--shard", "2/3", "--report", tmp_path / "out.json")
    settings = json.loads((tmp_path / "out.json").read_text())["settings"]
    assert settings["shard"] == "2/3"


# Lists


def shown(stdout: str) -> list[str]:
    return [os.path.basename(json.loads(line)["path"]) for line in stdout.splitlines()]


def test_paths_from_a_list(folder: Path, tmp_path: Path, fake_backend: FakeBackend) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"{folder / '2'}\n{folder / 'gone.png'}\n\n{folder / '0' / '03.png'}")
    second.write_text(f"{folder / '1' / '01.png'}\n")
    outcome = run("scan", "--list", first, "--list", second, folder / "0" / "00.png", "--json")
    names = [f"{number:02}.png" for number in range(2, 40, 3)]
    assert shown(outcome.stdout) == ["00.png", *names, "gone.png", "03.png", "01.png"]
    assert outcome.code == 3


def test_lists_of_names_of_any_bytes(tmp_path: Path, fake_backend: FakeBackend) -> None:
    names = [b"new\nline.png", b"\xff\xfe.png", "ä ö.png".encode(), b"-dash.png"]
    top = os.fsencode(tmp_path)
    for number, name in enumerate(names):
        with open(os.path.join(top, name), "wb") as file:
            file.write(noisy(number))
    manifest = tmp_path / "list"
    manifest.write_bytes(b"".join(os.path.join(top, name) + b"\0" for name in names))
    outcome = run("scan", "-0", "--list", manifest, "--json", "--no-store")
    assert outcome.code == 0
    assert len(outcome.stdout.splitlines()) == len(names)


@pytest.mark.parametrize("arguments", [(), ("--list", "gone.txt")])
def test_nothing_to_scan_is_one_line(arguments: tuple[str, ...], fake_backend: FakeBackend) -> None:
    outcome = run("scan", *arguments)
    assert outcome.code == 2
    assert len(outcome.stderr.splitlines()) == 1
