"""The page that shows a directory."""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path

import pytest

from hardhttp.testing import Response, Rig
from hardhttp.web.listing import MAX_HIDDEN_SHARE
from hardhttp.web.static import StaticFiles
from tests.web.saying import say


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for name, size in {"b.txt": 3000, "a.txt": 10, "C.txt": 2_000_000}.items():
        with (root / name).open("wb") as made:
            made.truncate(size)
    for name, seconds in {"b.txt": 3e8, "a.txt": 2e8, "C.txt": 1e8, "sub": 0}.items():
        os.utime(root / name, (seconds, seconds))
    return root


def ask(root: Path, target: str = "/", method: bytes = b"GET", **options: int | bool) -> Response:
    with Rig(StaticFiles(root, **{"listing": True, **options})) as rig:  # type: ignore[arg-type]
        (response,) = rig.exchange(say(method, target.encode()), methods=[method])
        return response


def rows(response: Response) -> list[tuple[str, ...]]:
    """Reference, name, size and date of each row."""
    found = re.findall(r'<tr><td><a href="([^"]*)">([^<]*)</a><td>([^<]*)<td>([^\n<]*)\n', response.body.decode())
    return [tuple(map(unescape, row)) for row in found]


def names(response: Response) -> list[str]:
    return [row[1] for row in rows(response)]


def test_it_is_off_unless_asked_for(root: Path) -> None:
    assert ask(root, listing=False).status == 404
    assert ask(root, "/sub/", listing=False).status == 404


def test_what_it_shows(root: Path) -> None:
    response = ask(root)
    assert response.status == 200
    assert rows(response) == [
        ("./sub/", "sub/", "", "01 Jan 1970 00:00"),
        ("./a.txt", "a.txt", "10 B", "03 May 1976 19:33"),
        ("./b.txt", "b.txt", "2.9 KiB", "05 Jul 1979 05:20"),
        ("./C.txt", "C.txt", "1.9 MiB", "03 Mar 1973 09:46"),
    ]
    assert response.get(b"content-type") == b"text/html; charset=utf-8"
    assert response.get(b"cache-control") == b"no-cache"
    assert response.get(b"x-content-type-options") == b"nosniff"
    assert b"default-src 'none'" in (response.get(b"content-security-policy") or b"")
    assert b"<script" not in response.body
    assert rows(ask(root, "/sub/")) == [("./../", "..", "", "")]
    head = ask(root, method=b"HEAD")
    assert (head.body, head.get(b"content-length")) == (b"", response.get(b"content-length"))


def test_an_index_goes_before_it(root: Path) -> None:
    (root / "index.html").write_text("index")
    assert ask(root).body == b"index"


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("", "abC"), ("?sort=name", "abC"), ("?sort=-name", "Cba"), ("?sort=size", "abC"), ("?sort=-size", "Cba"),
        ("?sort=date", "Cab"), ("?sort=-date", "baC"), ("?sort=none", "abC"), ("?sort=--name", "abC"),
        ("?x&sort=date", "Cab"),
        ("?sort=<script>", "abC"),
    ],
)  # fmt: skip
def test_it_is_sorted_by_links(root: Path, query: str, order: str) -> None:
    response = ask(root, "/" + query)
    assert names(response) == ["sub/", *[f"{letter}.txt" for letter in order]]
    assert b"script" not in response.body


def test_a_link_turns_the_order_round(root: Path) -> None:
    assert b'href="?sort=-name">Name</a> &#9650;' in ask(root).body
    assert b'href="?sort=name">Name</a> &#9660;' in ask(root, "/?sort=-name").body
    assert b'href="?sort=size">Size</a><' in ask(root).body


def test_names_are_escaped(root: Path) -> None:
    odd = ["<script>x", "javascript:alert(1)", 'a"b', "a&amp;b", "a'b", "100% #?.txt", "\u00e4"]
    for name in odd:
        (root / name).write_text("")
    (root / "<b>").mkdir()
    response = ask(root)
    assert set(odd) <= set(names(response))
    assert b"<script>x" not in response.body
    for reference, name, _, _ in rows(response):
        assert reference.startswith("./")
        assert ":" not in reference
        if not name.endswith("/"):
            assert ask(root, reference[1:]).status == 200
    assert b"<h1>/&lt;b&gt;/</h1>" in ask(root, "/%3Cb%3E/").body


def test_what_would_not_be_served_is_not_shown(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / ".hidden").write_text("")
    (root / ".well-known").mkdir()
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "null").symlink_to("/dev/null")
    (root / "dangling").symlink_to("nothing")
    (root / "inside").symlink_to("a.txt")
    os.mkfifo(root / "fifo")
    (root / os.fsdecode(b"\xff")).write_text("")
    (root / "trailing.").write_text("")
    usual = [".well-known/", "sub/", "a.txt", "b.txt", "C.txt", "inside"]
    assert names(ask(root)) == usual
    assert ".hidden" in names(ask(root, dotfiles=True))
    assert names(ask(root, follow_symlinks=True)) == [".well-known/", "out/", *usual[1:]]


def test_it_is_bounded_and_says_so(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"{i}").write_text("")
    whole = ask(tmp_path, max_listed=10)
    assert len(rows(whole)) == 10
    assert b"Only the first" not in whole.body
    part = ask(tmp_path, max_listed=9)
    assert len(rows(part)) == 9
    assert b"Only the first 9 entries" in part.body


def test_what_is_hidden_is_bounded_too(tmp_path: Path) -> None:
    for i in range(5 * MAX_HIDDEN_SHARE):
        (tmp_path / f".{i}").write_text("")
    response = ask(tmp_path, max_listed=5)
    assert rows(response) == []
    assert b"Only the first" in response.body
