"""Events to bytes, and back as a browser takes them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.eventstream import COMMENT, encode_event, encode_retry


def take(stream: bytes) -> list[dict[str, str]]:
    """The events a browser makes of ``stream`` (HTML standard, 9.2.6), ended or not."""
    events: list[dict[str, str]] = []
    event: dict[str, str] = {}
    data: list[str] = []
    text = stream.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n")[:-1]:
        if not line:
            if data:
                events.append({**event, "data": "\n".join(data)})
            event, data = {k: v for k, v in event.items() if k == "id"}, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name in ("event", "id", "retry"):
            event[name] = value
    return events


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
    assert json.loads(event["data"]) == data


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError):
        encode_event(object())


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ONE_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1)


@given(data=TEXT, event=ONE_LINE, id=ONE_LINE)
def test_there_and_back(data: str, event: str, id: str) -> None:
    whole = data.replace("\r\n", "\n").replace("\r", "\n")
    assert take(encode_event(data, event, id) + COMMENT) == [{"event": event, "id": id, "data": whole}]


def test_comment_is_no_event() -> None:
    assert take(COMMENT * 3) == []


@pytest.mark.parametrize(
    ("seconds", "line"), [(3, b"retry: 3000\n\n"), (0.0015, b"retry: 2\n\n"), (0, b"retry: 0\n\n")]
)
def test_retry(seconds: float, line: bytes) -> None:
    assert encode_retry(seconds) == line
