"""Events to bytes, and back as a browser takes them."""

from __future__ import annotations

import json

import httpx
import httpx_sse
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.testing import every_split
from hardhttp.wire.eventstream import COMMENT, Event, EventTooLargeError, Parser, encode_event, encode_retry


def take(stream: bytes) -> list[Event]:
    return Parser().feed(stream)


# -- encoding ----------------------------------------------------------------------------------


def test_an_event() -> None:
    assert encode_event("hello") == b"data: hello\n\n"
    assert encode_event("a", event="e", id="1") == b"event: e\nid: 1\ndata: a\n\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines(end: str) -> None:
    assert encode_event(f"a{end}b{end}") == b"data: a\ndata: b\ndata: \n\n"


def test_an_empty_event_is_an_event() -> None:
    assert encode_event("") == b"data: \n\n"
    assert encode_event(b"", id="") == b"id: \ndata: \n\n"


@pytest.mark.parametrize("bad", ["a\nb", "\r", "a\0", "\r\n", "a\n"])
@pytest.mark.parametrize("name", ["event", "id"])
def test_no_line_end_in_a_name(bad: str, name: str) -> None:
    """Rows of the stream cannot be made by whoever names an event."""
    with pytest.raises(ValueError, match=name):
        encode_event("x", **{name: bad})


@pytest.mark.parametrize("data", [{"a": [1, None, "ü\n"]}, 5, None, True, [b"x".decode()]])
def test_json(data: object) -> None:
    (event,) = take(encode_event(data))
    assert json.loads(event.data) == data


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_event(object())


@pytest.mark.parametrize("data", [b"\xff", b"\xe2\x80", "\ud800", ["\ud800"], float("nan"), {"a": float("inf")}])
def test_what_a_browser_would_replace_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"utf-8|JSON compliant"):
        encode_event(data)


def test_no_empty_type() -> None:
    """A browser would call it ``message``."""
    with pytest.raises(ValueError, match="event"):
        encode_event("x", event="")


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ONE_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"))


@given(
    data=TEXT,
    event=st.none() | ONE_LINE.filter(bool),
    id=st.none() | ONE_LINE,
    retry_ms=st.none() | st.integers(0, 2**31 - 1),
)
def test_there_and_back(data: str, event: str | None, id: str | None, retry_ms: int | None) -> None:
    encoded = encode_event(data, event, id, retry_seconds=None if retry_ms is None else retry_ms / 1000)
    whole = data.replace("\r\n", "\n").replace("\r", "\n")
    assert take(encoded + COMMENT) == [Event(event or "message", whole, id or "", retry_ms)]


def test_comment_is_no_event() -> None:
    assert take(COMMENT * 3) == []


def test_comment_is_no_event_to_a_client_that_counts_blank_lines() -> None:
    """``httpx-sse`` takes each blank line for an event, once there was an id."""
    stream = COMMENT + encode_event("x", id="1") + COMMENT * 3
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=stream)
    assert [event.data for event in httpx_sse.EventSource(response).iter_sse()] == ["x"]


@pytest.mark.parametrize(
    ("seconds", "line"), [(3, b"retry: 3000\n\n"), (0.0015, b"retry: 2\n\n"), (0, b"retry: 0\n\n")]
)
def test_retry(seconds: float, line: bytes) -> None:
    assert encode_retry(seconds) == line


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("inf"), 2**31 / 1000])
def test_no_such_retry(seconds: float) -> None:
    with pytest.raises(ValueError, match="retry"):
        encode_retry(seconds)
    with pytest.raises(ValueError, match="retry"):
        encode_event("x", retry_seconds=seconds)


def test_the_longest_retry() -> None:
    assert encode_event("x", retry_seconds=(2**31 - 1) / 1000) == b"retry: 2147483647\ndata: x\n\n"


# -- decoding ----------------------------------------------------------------------------------


def events(*data: str, type: str = "message", id: str = "") -> list[Event]:
    return [Event(type, text, id) for text in data]


# As web-platform-tests have it in eventsource/, each with the end that their server puts behind it.
WPT = {
    "format-bom": (b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n", events("1", "3")),
    "format-bom-2": (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3\n\n", events("2", "3")),
    "format-comments": (
        b"data:1\r:\0\n:\r\ndata:2\n:%(x)b\rdata:3\n:data:fail\r:%(x)b\ndata:4\n\n" % {b"x": b"x" * 200},
        events("1\n2\n3\n4"),
    ),
    "format-data-before-final-empty-line": (
        b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
        [Event("message", "test1", "", 1000)],
    ),
    "format-field-data": (b"data:\n\ndata\ndata\n\ndata:test\n\n", events("", "\n", "test")),
    "format-field-event": (b"event:test\ndata:x\n\ndata:x\n\n", [*events("x", type="test"), *events("x")]),
    "format-field-event-empty": (b"event: \ndata:data\n\n", events("data")),
    "format-field-id-3 persists": (b"id: 1\ndata: 1\n\ndata: 2\n\n", events("1", "2", id="1")),
    "format-field-id-3 changes and persists": (
        b"id: 1\ndata:1\n\nid: 2\ndata:2\n\ndata:3\n\n",
        [*events("1", id="1"), *events("2", "3", id="2")],
    ),
    "format-field-id-3 resets": (
        b"id: 1\ndata: 1\n\nid:\ndata:2\n\ndata:3\n\n",
        [*events("1", id="1"), *events("2", "3")],
    ),
    "format-field-id-3 resets without a colon": (
        b"id: 1\ndata: 1\n\nid\ndata:2\n\n",
        [*events("1", id="1"), *events("2")],
    ),
    "format-field-id-2": ("id:\u2026\ndata:hello\n\n".encode(), events("hello", id="\u2026")),
    "format-field-id": (b"id: 1\ndata: hello\n\ndata: again\n\n", events("hello", "again", id="1")),
    **{
        f"format-field-id-null {value!r}": (b"id:7\n\nid: %b\ndata:hello\n\n" % value, events("hello", id="7"))
        for value in (b"\0\0", b"x\0", b"\0x", b"x\0x", b" \0")
    },
    "format-field-parsing": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:3\ndata:4\n\n",
        events("\0\n 2\n1\n3\n\n4"),
    ),
    "format-field-retry": (b"retry:03000\ndata:x\n\n", [Event("message", "x", "", 3000)]),
    "format-field-retry-bogus": (b"retry:2000\nretry:1000x\ndata:x\n\n", [Event("message", "x", "", 2000)]),
    "format-field-retry-empty": (b"retry\ndata:test\n\n", events("test")),
    "format-field-unknown": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
        events("test\n\ntest"),
    ),
    "format-leading-space": (b"data:\ttest\rdata: \ndata:test\n\n", events("\ttest\n\ntest")),
    "format-newlines": (b"data:test\r\ndata\ndata:test\r\n\r", events("test\n\ntest")),
    "format-null-character": (b"data:\0\n\n", events("\0")),
    "format-utf-8": ("data:ok\u2026\n\n".encode(), events("ok\u2026")),
    "format-field-event, the last of several": (b"event:a\nevent:test\ndata:x\n\n", events("x", type="test")),
    "eventsource-reconnect": (b"retry:2\n\n", []),
    "event-data": (
        b"data:msg\ndata: msg\n\n:\n\nfalsefield:msg\n\nfalsefield:msg\n\ndata\n\ndata:end\n\n",
        events("msg\nmsg", "", "end"),
    ),
}
OURS = {
    "bytes that are not UTF-8": (b"data:\xff\xe2\x80\ndata:a\xc3\n\n", events("\ufffd\ufffd\na\ufffd")),
    "a type without data is forgotten": (b"event:a\n\ndata:x\n\n", events("x")),
    "an id without data is kept": (b"id:7\n\ndata:x\n\n", events("x", id="7")),
    "CR alone": (b"data:a\rdata:b\r\rdata:c\r\r", events("a\nb", "c")),
    "CRLF": (b"data:a\r\n\r\ndata:b\r\n\r\n", events("a", "b")),
    "LF CR": (b"data:a\n\rdata:b\n\r", events("a", "b")),
    "a colon in the value": (b"data:a:b: c\n\n", events("a:b: c")),
    "a retry longer than a timer": (b"retry:%b\ndata:x\n\n" % (b"9" * 5000), [Event("message", "x", "", 2**31 - 1)]),
    "a retry of zeros": (b"retry:%b\ndata:x\n\n" % (b"0" * 5000), [Event("message", "x", "", 0)]),
    "digits of others": ("retry:\u0665\nretry:+1\nretry: 1 \nretry:-1\ndata:x\n\n".encode(), events("x")),
    "nothing": (b"", []),
    "half a BOM": (b"\xef\xbbdata:x\n\ndata:y\n\n", events("y")),
}


@pytest.mark.parametrize("name", [*WPT, *OURS])
def test_as_browsers_do_it(name: str) -> None:
    stream, expected = {**WPT, **OURS}[name]
    for pieces in every_split(stream) if len(stream) < 1000 else [[stream]]:
        parser = Parser()
        assert [event for piece in pieces for event in parser.feed(piece)] == expected, pieces


def test_an_empty_feed_between_cr_and_lf() -> None:
    parser = Parser()
    assert [parser.feed(piece) for piece in (b"data:a\r", b"", b"\n", b"\r", b"", b"\n")] == [
        [],
        [],
        [],
        events("a"),
        [],
        [],
    ]


def test_an_event_waits_for_no_more_than_its_blank_line() -> None:
    """Also when that line ends in CR, which an LF may follow."""
    parser = Parser()
    assert parser.feed(b"data:a\r\n\r") == events("a")
    assert parser.feed(b"\ndata:b\n\n") == events("b")


def test_what_a_reconnect_needs() -> None:
    parser = Parser(last_event_id="5")
    assert (parser.last_event_id, parser.retry_ms) == ("5", None)
    parser.feed(b"retry: 10\n\nid: 6\n")
    assert (parser.last_event_id, parser.retry_ms) == ("5", 10)  # 6 is not dispatched yet
    assert parser.feed(b"\ndata: x\n\n") == [Event("message", "x", "6")]
    assert (parser.last_event_id, parser.retry_ms) == ("6", 10)
    assert Parser(last_event_id="5").feed(b"data: x\n\n") == events("x", id="5")


@pytest.mark.parametrize("line", [b"data:%b", b":%b", b"%b", b"id:%b"])
def test_the_longest_line(line: bytes) -> None:
    fits = line % (b"x" * (20 - len(line % b"")))
    for end in (b"\n", b"\r", b"\r\n"):
        for pieces in every_split(fits + end):
            parser = Parser(max_line_bytes=20)
            for piece in pieces:
                parser.feed(piece)
    for stream in (fits + b"x", fits + b"x\n"):
        for pieces in every_split(b"data:a\n\n" + stream):
            assert failing(Parser(max_line_bytes=20), pieces) == (events("a"), "20 bytes")


def test_the_largest_event() -> None:
    for pieces in every_split(b"data:aaaa\ndata:bbbbb\n\n"):
        parser = Parser(max_event_bytes=10)
        assert [event for piece in pieces for event in parser.feed(piece)] == events("aaaa\nbbbbb")
    for pieces in every_split(b"data:a\n\ndata:aaaa\ndata:bbbbbb\n\n"):
        assert failing(Parser(max_event_bytes=10), pieces) == (events("a"), "10 bytes")
    # lines without data count as well
    assert failing(Parser(max_event_bytes=10), [b"data\n" * 11])[1] == ""
    assert failing(Parser(max_event_bytes=10), [b"data\n" * 12])[1] == "10 bytes"


def test_the_longest_id() -> None:
    for pieces in every_split(b"id:aaaa\ndata:a\n\nid:aaaaa\ndata:b\n\n"):
        assert failing(Parser(max_id_bytes=4), pieces) == (events("a", id="aaaa"), "4 bytes")
    assert take(b"id:aaaaa\ndata:b\n\n") == events("b", id="aaaaa")


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("at_most", [1, 2, 5])
def test_no_more_events_than_there_is_room_for(end: bytes, at_most: int) -> None:
    """Nor is a fault seen that lies beyond them."""
    stream = b"".join(b"id:%d%bdata:%d%b%b" % (i, end, i, end, end) for i in range(4)) + b"id:" + b"x" * 20 + end
    for pieces in every_split(stream):
        parser, came = Parser(max_id_bytes=4), []
        with pytest.raises(EventTooLargeError) as raised:  # noqa: PT012
            for piece in pieces:
                start = 0
                while start < len(piece):
                    some, start = parser.read(piece, start, at_most)
                    assert len(some) <= at_most
                    came += some
        came += raised.value.events
        assert [event.data for event in came] == ["0", "1", "2", "3"]
        assert parser.last_event_id == "3"


def failing(parser: Parser, pieces: list[bytes]) -> tuple[list[Event], str]:
    """What came before the failure, and the bound it names; a parser that failed takes no more."""
    came: list[Event] = []
    try:
        for piece in pieces:
            came += parser.feed(piece)
    except EventTooLargeError as error:
        came += error.events
        with pytest.raises(EventTooLargeError, match=str(error)):
            parser.feed(b"\n\n")
        return came, " ".join(str(error).split()[-2:])
    return came, ""


@given(
    st.lists(
        st.binary(max_size=8) | st.sampled_from([b"data", b":", b" ", b"\r", b"\n", b"id", b"\0", b"\xef\xbb\xbf"])
    )
)
def test_any_bytes_however_cut(pieces: list[bytes]) -> None:
    parser = Parser()
    assert [event for piece in pieces for event in parser.feed(piece)] == take(b"".join(pieces))
