"""Links by path, and the file that says them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardhttp import Link
from hardhttp.web.hintrules import MAX_FILE_BYTES, HintRules

STYLE = Link("/app.css", "preload", {"as": "style"})
FILE = """
[[hints]]
path = "/"
links = [
    {href = "/app.css", rel = "preload", as = "style"},
    {href = "https://fonts.example", rel = "preconnect", crossorigin = true, title = "Schöne"},
]

[[hints]]
path = "/docs/{rest:path}"
links = [{href = "/app.css", rel = "preload", as = "style"}]
"""


def load(path: Path, text: str | bytes) -> HintRules:
    path = path / "hints.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return HintRules.load(path)


def test_a_file(tmp_path: Path) -> None:
    rules = load(tmp_path, FILE)
    assert len(rules) == 2
    root = rules.find([b""])
    assert root is not None
    assert root.links == (
        STYLE,
        Link("https://fonts.example", "preconnect", {"crossorigin": "", "title": "Schöne"}),
    )
    docs = rules.find([b"docs", b"a", b"b"])
    assert docs is not None
    assert docs.links == (STYLE,)
    assert rules.find([b"other"]) is None


def test_rules_are_replaced_whole(tmp_path: Path) -> None:
    rules = load(tmp_path, FILE)
    rules.replace(HintRules({"/other": [STYLE]}))
    assert len(rules) == 1
    assert rules.find([b""]) is None
    assert rules.find([b"other"]) is not None


def test_an_empty_file_has_no_rules(tmp_path: Path) -> None:
    assert len(load(tmp_path, "")) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[hints]", "Expected"),
        (b"\xff", "utf-8"),
        ("[[hint]]\npath='/'", "there is no hint, only hints"),
        ("hints = 1", "hints is 1; it must be a list of tables"),
        ("[[hints]]\nlinks=[]", "hints 1: path is None"),
        ("[[hints]]\npath='x'", "path 'x': the pattern 'x' does not begin with a slash"),
        ("[[hints]]\npath='/{a:b}'", "no converter 'b'"),
        ("[[hints]]\npath='/'\n[[hints]]\npath='/'", "the path '/' is the same route as the path '/'"),
        ("[[hints]]\npath='/'\nlink=[]", "hints 1: there is no link, only links and path"),
        ("[[hints]]\npath='/'\nlinks=['</a>; rel=preload']", "links is ['</a>; rel=preload']"),
        ("[[hints]]\npath='/'\nlinks=[{href='/a'}]", "path '/': a link is a table of href, rel"),
        ("[[hints]]\npath='/'\nlinks=[{href=1, rel='preload'}]", "path '/': a link is a table of href, rel"),
        ("[[hints]]\npath='/'\nlinks=[{href='/a b', rel='preload'}]", "path '/': a link's target is '/a b'"),
        ("[[hints]]\npath='/'\nlinks=[{href='/a', rel='preload', as=1}]", "path '/': a link's as is 1"),
        ('[[hints]]\npath="/"\nlinks=[{href="/a", rel="preload", as="a\\r\\nb"}]', "must be text in one line"),
        ("[[hints]]\npath='/'\nlinks=[{href='/a', rel='next'}]", "path '/': '/a' is next; only preload and preconnect"),
        ("[[hints]]\npath='/'\nlinks=[{href='/a', rel='preload'}]", "path '/': '/a' is a preload without as"),
    ],
)
def test_what_is_wrong_is_said_and_where(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


def test_a_file_is_bounded(tmp_path: Path) -> None:
    line = "# " + "x" * (MAX_FILE_BYTES - 2)
    assert len(load(tmp_path, line)) == 0
    with pytest.raises(ValueError, match="1,048,576"):
        load(tmp_path, line + "x")


def test_too_many_links_for_a_path() -> None:
    links = [Link(f"/{i}", "preload", {"as": "style"}) for i in range(65)]
    assert len(HintRules({"/": links[:64]})) == 1
    with pytest.raises(ValueError, match=r"path '/': 65 links"):
        HintRules({"/": links})
