from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakescan.records import FakescanError
from fakescan.sources import SourceFinder, check_path
from fakescan.sources.keys import (
    ArchiveKey,
    expand_ranges,
    is_archive,
    is_hidden,
    name_in,
    parse_archive,
    protocol_of,
    show,
    split_member,
)

# Ranges


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.png", ["a.png"]),
        ("s/{08..11}.tar", ["s/08.tar", "s/09.tar", "s/10.tar", "s/11.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..1}-{1..2}", ["0-1", "0-2", "1-1", "1-2"]),
        ("s3://b/{0000..0001}.tar", ["s3://b/0000.tar", "s3://b/0001.tar"]),
        ("zip://a.png::{1..2}.zip", ["zip://a.png::1.zip", "zip://a.png::2.zip"]),
        ("{a,b}", ["{a,b}"]),
        ("{1..}", ["{1..}"]),
        ("{-1..2}", ["{-1..2}"]),
    ],
)
def test_ranges(path: str, expected: list[str]) -> None:
    assert list(expand_ranges(path)) == expected


def test_a_range_takes_no_memory() -> None:
    assert list(islice(expand_ranges("{0..99999999999}-{0..9}"), 2)) == ["0-0", "0-1"]


def test_a_file_with_braces_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "{1..2}.png").write_bytes(b"x")
    found = [source.path for source in SourceFinder([str(tmp_path / "{1..2}.png")])]
    assert found == [str(tmp_path / "{1..2}.png")]
    missing = [source.path for source in SourceFinder([str(tmp_path / "a{1..2}.png")])]
    assert missing == [str(tmp_path / "a1.png"), str(tmp_path / "a2.png")]


# Secrets

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:hunter2@example.org/a.jpg", "https://example.org/a.jpg"),
        ("https://hunter2@example.org:8080/a.jpg", "https://example.org:8080/a.jpg"),
        ("https://u:p@hunter2@example.org/a.jpg", "https://example.org/a.jpg"),
        # Passwords that were not quoted, which no server will understand.
        ("https://user:hunter2/x@example.org/a.jpg", "https://example.org/a.jpg"),
        ("https://user:hunter2?x@example.org/a.jpg", "https://example.org/a.jpg"),
        ("https://user:hunter2#x@example.org/a.jpg", "https://example.org/a.jpg"),
        ("HTTPS://user:hunter2@example.org/a.jpg", "HTTPS://example.org/a.jpg"),
        ("s3://KEY:hunter2@bucket/a.jpg", "s3://bucket/a.jpg"),
        (
            "https://h/a.jpg?X-Amz-Date=1&X-Amz-Signature=hunter2",
            "https://h/a.jpg?X-Amz-Date=1&X-Amz-Signature=...",
        ),
        (
            "https://h/a?x-amz-security-token=hunter2&v=3",
            "https://h/a?x-amz-security-token=...&v=3",
        ),
        ("https://h/a?X-Goog-Signature=hunter2", "https://h/a?X-Goog-Signature=..."),
        ("https://h/a?sv=1&sig=hunter2", "https://h/a?sv=1&sig=..."),
        ("https://h/a?access_token=hunter2;b=1", "https://h/a?access_token=...;b=1"),
        ("https://h/a?%74oken=hunter2", "https://h/a?%74oken=..."),
        ("https://h/a?api-key=hunter2&API_KEY=hunter2", "https://h/a?api-key=...&API_KEY=..."),
        ("https://h/a?Key-Pair-Id=hunter2", "https://h/a?Key-Pair-Id=..."),
        ("https://h/a#access_token=hunter2", "https://h/a#access_token=..."),
        (
            "zip://d/a.jpg::https://u:hunter2@h/x.zip?token=hunter2",
            "zip://d/a.jpg::https://h/x.zip?token=...",
        ),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    assert show(url) == shown


@pytest.mark.parametrize(
    "key",
    [
        *("photos/a.jpg", "./http:/a.jpg", "C:/a@b.jpg", "a?token=b.jpg", "zip://a::b@c.zip"),
        *("s3://bucket/a@b?token=x.jpg", "hf://datasets/user/set@main/a.jpg"),
        *("https://example.org/a@b.jpg?size=3&page=2#top", "http://[::1]:80/a@b.jpg"),
    ],
)
def test_all_else_is_shown_as_given(key: str) -> None:
    assert show(key) == key


@given(
    st.sampled_from(["https", "http", "s3", "HTTP"]),
    st.text(st.characters(exclude_characters="/?#\\", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_characters="@", exclude_categories=["Cs"])),
)
@example("https", "a:", "h/x@y")
def test_a_password_is_never_shown(protocol: str, user: str, rest: str) -> None:
    assert SECRET not in show(f"{protocol}://{user}:{SECRET}@{rest}")


@given(st.text())
def test_any_text_is_a_key(text: str) -> None:
    show(text)
    show(f"https://{text}")
    name_in(f"https://{text}")
    is_archive(text)
    assert show(show(text)) == show(text)


# Parts


def test_members_and_archives() -> None:
    assert split_member("zip://d/a.jpg::x.zip") == ArchiveKey("zip", "d/a.jpg", "x.zip")
    assert split_member("tar://::s3://b/x.tar") == ArchiveKey("tar", "", "s3://b/x.tar")
    assert split_member("zip://a::b.jpg::x.zip") == ArchiveKey("zip", "a::b.jpg", "x.zip")
    assert split_member("zip://a.jpg::http://[::1]:80/x.zip") == ArchiveKey(
        "zip", "a.jpg", "http://[::1]:80/x.zip"
    )
    assert split_member("zip://a.jpg::http://[fe80::1]/x.zip") == ArchiveKey(
        "zip", "a.jpg", "http://[fe80::1]/x.zip"
    )
    assert split_member("a::b.zip") is None
    assert parse_archive("a/b.ZIP") == ArchiveKey("zip", "", "a/b.ZIP")
    assert parse_archive("https://h/a.tar?token=1") == ArchiveKey(
        "tar", "", "https://h/a.tar?token=1"
    )
    assert parse_archive("a.png") is None
    assert [is_archive(path) for path in ("a.zip", "zip://::a.zip", "zip://b::a.zip")] == [
        *(True, True, False)
    ]


def test_protocols() -> None:
    assert protocol_of("S3://a") == "s3"
    assert [protocol_of(path) for path in ("C://a", "a/b://c", "a", "://", "1a://b")] == [None] * 5


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("a/.b", True), (".a/b", True), ("./a", False), ("../a", False), ("a.b", False), ("", False)],
)
def test_hidden_names(name: str, hidden: bool) -> None:
    assert is_hidden(name) is hidden


def test_the_name_in_a_url() -> None:
    assert name_in("https://h/a%20b+c.dng?x=1.jpg#y.png") == "/a b+c.dng"
    assert name_in("s3://b.zip/d/a?x.dng") == "d/a?x.dng"
    assert not is_archive("s3://bucket.zip")
    assert name_in("https://[bad/a.jpg") == "https://[bad/a.jpg"


# What can't be scanned


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://user:hunter2@h/a.jpg", "https://h/a.jpg is remote: add --remote"),
        ("zip://a.jpg::s3://b/x.zip", "add --remote"),
        ("ftp://h/a.jpg", "fakescan opens http://, https://, s3://"),
        ("zip://a.jpg", "write zip://MEMBER::ARCHIVE"),
        ("a.tar.gz", "compressed tar"),
        ("https://h/a.tgz?token=hunter2", "add --remote"),
    ],
)
def test_what_can_not_be_scanned_is_one_line(path: str, words: str) -> None:
    with pytest.raises(FakescanError) as error:
        check_path(path, None)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
