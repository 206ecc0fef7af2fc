"""The Link field: what is written comes back, what others write is read as RFC 8288 says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.grammar import FIELD_VALUE
from hardhttp.wire.links import MAX_LINK_BYTES, MAX_LINKS, Link, encode_links, parse_links

STYLE = Link("/app.css", "preload", {"as": "style"})
PLAIN_NAMES = ("type", "media", "hreflang", "rev")

references = st.text(st.sampled_from("abz019/:?#,;=%&'()*+!$~._-[]{}|\\^`@"), max_size=20)
relations = st.lists(st.text(st.sampled_from("abz09.:/?#,;=<>'&"), min_size=1, max_size=8), min_size=1, max_size=3)
tokens = st.text(st.sampled_from("abz09!#$%&'+-.^_`|~"), min_size=1, max_size=6)
ascii_texts = st.text(st.sampled_from("ab 9\t\"\\,;<>=*'%/"), max_size=12)
wide_texts = st.text(
    st.characters(min_codepoint=0xA0, exclude_categories=["Cs"]) | st.sampled_from("ab\"'%,; "), max_size=8
)


@st.composite
def links(draw: st.DrawFn) -> Link:
    names = draw(st.lists(tokens.filter(lambda name: name not in ("rel", "anchor")), unique=True, max_size=4))
    attributes = [(name, draw(ascii_texts if name in PLAIN_NAMES else ascii_texts | wide_texts)) for name in names]
    return Link(draw(references), draw(relations), attributes, draw(st.none() | references))


# -- round trip ---------------------------------------------------------------------------------


@given(st.lists(links(), max_size=4))
def test_what_is_written_is_read_again(given_links: list[Link]) -> None:
    value = b", ".join(link.encode() for link in given_links)
    assert FIELD_VALUE.fullmatch(value)
    assert parse_links([value]) == given_links
    assert parse_links([link.encode() for link in given_links]) == given_links


@given(st.lists(st.binary(max_size=60) | st.text(st.sampled_from("<>;,=\"\\*' \tabrel"), max_size=60).map(str.encode)))
def test_anything_is_read_without_complaint_and_is_sound(values: list[bytes]) -> None:
    for link in parse_links(values):
        assert FIELD_VALUE.fullmatch(link.encode())
        assert parse_links([link.encode()]) == [link]


def test_how_it_is_written() -> None:
    assert STYLE.encode() == b"</app.css>; rel=preload; as=style"
    assert Link("/f", "preload", {"as": "font", "crossorigin": True, "nopush": ""}).encode() == (
        b"</f>; rel=preload; as=font; crossorigin; nopush"
    )
    assert Link("/b", "next  UP", {"title": 'a "b\\'}, "#x").encode() == (
        b'</b>; rel="next up"; anchor="#x"; title="a \\"b\\\\"'
    )
    assert Link("", "help", {"title": "€ 5"}).encode() == b"<>; rel=help; title*=UTF-8''%E2%82%AC%205"


# -- appendix B ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", []),
        (b"</a>", []),  # 3.3: rel must be there
        (b"</a>; rel=", []),
        (b'</a>; rel="  "', []),
        (b"</a>;rel=x", [Link("/a", "x")]),
        (b" \t</a> \t;\t rel \t= \tx \t", [Link("/a", "x")]),
        (b'</a>;REL="X\tPreload"', [Link("/a", ("x", "preload"))]),
        (b"</a>; rel=x; rel=y", [Link("/a", "x")]),
        (b"</a>; rel=x y", [Link("/a", ("x", "y"))]),
        (b"</a>; rel=x, </b>; rel=y", [Link("/a", "x"), Link("/b", "y")]),
        (b"</a>; rel=x,</b>; rel=y", [Link("/a", "x"), Link("/b", "y")]),
        (b", ,</a>; rel=x,, </b>; rel=y,", [Link("/a", "x"), Link("/b", "y")]),
        (b"</a>, </b>; rel=y", [Link("/b", "y")]),
        # commas, semicolons and angles where they are text
        (b"</a,b;c>; rel=x", [Link("/a,b;c", "x")]),
        (b'</a>; rel=x; t="1,2;3<4>5", </b>; rel=y', [Link("/a", "x", {"t": "1,2;3<4>5"}), Link("/b", "y")]),
        (b'</a>; t="\\", </b>; rel=y"; rel=x', [Link("/a", "x", {"t": '", </b>; rel=y'})]),
        (b'</a>; t="\\\\"; rel=x', [Link("/a", "x", {"t": "\\"})]),
        (b"</a>; t='1, </b>; rel=y", [Link("/b", "y")]),  # an apostrophe quotes nothing
        # quotes that do not end
        (b'</a>; rel=x; t="1, </b>; rel=y', [Link("/a", "x", {"t": "1, </b>; rel=y"})]),
        (b'</a>; rel=x; t="', [Link("/a", "x", {"t": ""})]),
        (b'</a>; rel=x; t="1\\', [Link("/a", "x", {"t": "1"})]),
        (b'</a>; rel=x; t="1"2; u=3, </b>; rel=y', [Link("/a", "x", {"t": "1"})]),
        # names alone
        (b"</a>; rel=x; nopush", [Link("/a", "x", {"nopush": ""})]),
        (b"</a>; nopush; rel=x", [Link("/a", "x", {"nopush": ""})]),
        (b"</a>; rel=x; nopush=, </b>; rel=y", [Link("/a", "x", {"nopush": ""}), Link("/b", "y")]),
        (b"</a>;;; rel=x;", [Link("/a", "x")]),
        (b"</a>; =z; rel=x; b{d=1", [Link("/a", "x")]),
        # of several the first, of hreflang all
        (b"</a>; rel=x; as=1; AS=2", [Link("/a", "x", {"as": "1"})]),
        (b"</a>; rel=x; hreflang=de; hreflang=fr", [Link("/a", "x", [("hreflang", "de"), ("hreflang", "fr")])]),
        # the context
        (b'</a>; rel=x; anchor="#f"', [Link("/a", "x", anchor="#f")]),
        (b'</a>; rel=x; anchor="/b c", </d>; rel=y', [Link("/d", "y")]),
        # RFC 8187
        (b"</a>; rel=x; title*=UTF-8'de'%c3%bc", [Link("/a", "x", {"title": "ü"})]),
        (b"</a>; rel=x; title=u; title*=utf-8''%C3%BC", [Link("/a", "x", {"title": "ü"})]),
        (b"</a>; rel=x; title*=UTF-8''a; title=u", [Link("/a", "x", {"title": "a"})]),
        (b"</a>; rel=x; title=u; title*=UTF-8''%FF", [Link("/a", "x", {"title": "u"})]),
        (b"</a>; rel=x; title=u; title*=latin-1''%FC", [Link("/a", "x", {"title": "u"})]),
        (b"</a>; rel=x; title=u; title*=UTF-8''a%0d%0aSet-Cookie", [Link("/a", "x", {"title": "u"})]),
        (b"</a>; rel=x; type*=UTF-8''a", [Link("/a", "x")]),
        (b"</a>; rel*=UTF-8''x", []),
        (b"</a>; rel=x; title=\xc3\xbc", [Link("/a", "x", {"title": "ü"})]),
        (b"</a>; rel=x; title=\xfc", [Link("/a", "x", {"title": "ü"})]),
        (b"</a>; rel=x; type=\xfc", [Link("/a", "x")]),
        # what ends the reading; what was read stands
        (b"/a; rel=x, </b>; rel=y", []),
        (b"</a>; rel=x, /b; rel=y, </c>; rel=z", [Link("/a", "x")]),
        (b"</a; rel=x", []),
        (b"</a b>; rel=x, </c>; rel=y", [Link("/c", "y")]),
        (b"</\xc3\xbc>; rel=x, </c>; rel=y", [Link("/c", "y")]),
        (b"</a>; rel=x\r\nSet-Cookie: a", []),
    ],
)
def test_reading(line: bytes, expected: list[Link]) -> None:
    assert parse_links([line]) == expected


@pytest.mark.parametrize("trap", [",", ";", '\\"', "\\\\", "<", ">", "=", ", </evil>; rel=preload", "'", " "])
def test_at_every_place_in_quotes_a_trap_is_text(trap: str) -> None:
    """No member begins inside a quoted string, wherever in it the trap stands."""
    text = "abcdef"
    for i in range(len(text) + 1):
        inside = text[:i] + trap + text[i:]
        read = inside.replace('\\"', '"').replace("\\\\", "\\")
        line = f'</a>; title="{inside}"; rel=x, </b>; rel=y'.encode()
        assert parse_links([line]) == [Link("/a", "x", {"title": read}), Link("/b", "y")]


def test_a_quote_set_anywhere_invents_no_target() -> None:
    """A quote that is too many swallows links; it makes none."""
    line = b'</a>; rel=x; title="1, 2", </b>; rel=y; as=z'
    for i in range(len(line) + 1):
        for trap in (b'"', b"\\", b","):
            found = parse_links([line[:i] + trap + line[i:]])
            assert len(found) <= 2
            assert not {link.target.strip(',"\\') for link in found} - {
                "/a",
                "/b",
                '/"a',
                '/"b',
                "/\\a",
                "/\\b",
                "/,a",
                "/,b",
            }


# -- bounds -------------------------------------------------------------------------------------


def test_links_are_counted() -> None:
    line = b", ".join([b"</a>; rel=x"] * (MAX_LINKS + 1))
    assert len(parse_links([line])) == MAX_LINKS
    assert len(parse_links([b"</a>; rel=x"] * (MAX_LINKS + 1))) == MAX_LINKS
    assert len(parse_links([line], max_links=2)) == 2


def test_bytes_are_counted_by_the_line() -> None:
    line = b"</a>; rel=x"
    assert len(parse_links([line, line], max_bytes=2 * len(line))) == 2
    assert len(parse_links([line, line], max_bytes=2 * len(line) - 1)) == 1
    assert parse_links([b"</%b>; rel=x" % (b"a" * MAX_LINK_BYTES)]) == []


def test_what_is_sent_is_bounded() -> None:
    assert encode_links([STYLE] * MAX_LINKS).count(b"app.css") == MAX_LINKS
    with pytest.raises(ValueError, match="65 links"):
        encode_links([STYLE] * (MAX_LINKS + 1))
    fits = Link("/" + "a" * (MAX_LINK_BYTES - 10), "x")
    assert len(encode_links([fits])) == MAX_LINK_BYTES
    with pytest.raises(ValueError, match="8,192"):
        encode_links([Link(fits.target + "a", "x")])


# -- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\x7f", "\r\nSet-Cookie: a=b", "\x85", "\ud800"])
def test_nothing_can_be_slipped_in(bad: str) -> None:
    for make in (
        lambda: Link("/a" + bad, "x"),
        lambda: Link("/a", "x" + bad),
        lambda: Link("/a", ("x", bad)),
        lambda: Link("/a", "x", {"title": "t" + bad}),
        lambda: Link("/a", "x", {"n" + bad: "t"}),
        lambda: Link("/a", "x", anchor="#" + bad),
    ):
        with pytest.raises(ValueError):
            make()


@pytest.mark.parametrize("target", ["/a b", "/a>", "<", '/"', "/ü", "/\t"])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        Link(target, "x")


@pytest.mark.parametrize(
    "attributes",
    [
        *({"rel": "y"}, {"anchor": "y"}, {"title*": "y"}, {"": "y"}, {"a b": "y"}, {"type": "ü"}, {"a": 1}),
        [("as", "1"), ("AS", "2")],
    ],
)
def test_attributes_that_are_none(attributes: object) -> None:
    with pytest.raises(ValueError, match="a link"):
        Link("/a", "x", attributes)


@pytest.mark.parametrize("rel", ["", " ", (), ("a b",), ("ü",), 'a"'])
def test_relations_that_are_none(rel: object) -> None:
    with pytest.raises(ValueError, match="rel"):
        Link("/a", rel)


def test_a_link_is_a_value() -> None:
    assert STYLE.get("as") == "style"
    assert STYLE.get("nopush") is None
    assert {STYLE, Link("/app.css", "PRELOAD", [("AS", "style")])} == {STYLE}
