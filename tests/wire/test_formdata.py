"""Multipart forms in pieces: the parts, where they are, and what is refused, the same at every split."""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardhttp.errors import Fault, LimitFault, PeerFault
from hardhttp.limits import Limits
from hardhttp.testing import every_split
from hardhttp.wire.formdata import MAX_LINE_BYTES, MAX_LINES, FormDataParser, PartHead, boundary_of

USUAL = Limits()
FEW = Limits(max_form_fields=2, max_form_files=1)


def multipart(*parts: bytes, boundary: bytes = b"b") -> bytes:
    return b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary


def field(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="%s"\r\n%s\r\n%s' % (name, more, value)


def file(name: bytes, filename: bytes, value: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: A/B; c=d\r\n\r\n%s' % (
        name,
        filename,
        value,
    )


def read(pieces: list[bytes], limits: Limits = USUAL, boundary: str = "b", codec: str = "utf_8") -> Any:
    """(head, content) of each part, or the fault's status and sentence."""
    parser = FormDataParser(boundary, limits, codec)
    parts: list[tuple[PartHead, bytes]] = []
    ends = 0
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                if isinstance(event, PartHead):
                    parts.append((event, b""))
                elif event is None:
                    ends += 1
                else:
                    parts[-1] = parts[-1][0], parts[-1][1] + event
        parser.end()
    except Fault as fault:
        return fault.status, fault.reason, fault.detail
    assert ends == len(parts)
    return parts


def said(data: bytes, limits: Limits = USUAL, status: int = 400) -> str:
    """What is said of a form that is refused."""
    outcome = read([data], limits)
    assert outcome[0] == status, outcome
    return str(outcome[2])


def test_parts_and_where_they_are() -> None:
    data = b"\r\n" + multipart(field(b"a", b"1"), file(b"f", b"x.txt", b"\r\n-\r\n--\r"), field(b"", b"")) + b"epilogue"
    (a, one), (f, content), (nameless, nothing) = read([data])
    assert (a.name, a.filename, one) == ("a", None, b"1")
    assert (f.name, f.filename, f.content_type, content) == ("f", "x.txt", "a/b", b"\r\n-\r\n--\r")
    assert f.headers[1] == ("Content-Type", "A/B; c=d")
    assert (nameless.name, nothing) == ("", b"")
    for head, value in ((a, one), (f, content), (nameless, nothing)):
        assert data[head.at : head.at + len(value)] == value
        assert data[head.at - 4 : head.at] == b"\r\n\r\n"


@pytest.mark.parametrize("data", [b"--b--", b"--b--\r\n", b"\r\n--b--\r\n", b"--b--\r\nepilogue\r\n"])
def test_a_form_of_nothing(data: bytes) -> None:
    for pieces in every_split(data):
        assert read(pieces) == []


WELL_FORMED = [
    multipart(field(b"a", b"\r\n--"), file(b"f", b"x", b"\r\r\n\r\n-\r\n--"), field(b"c", b"")) + b"and more",
    b"\r\n" + multipart(field(b"a", b"1", b"Content-Type: text/plain;\r\n charset=latin-1\r\n")),
    multipart(b"content-disposition:form-data;name=a\r\nContent-Length: 9\r\nX-Y: z\r\n\r\nlonger or shorter"),
]
MALFORMED = [
    b"",
    b"garbage",
    b"--b",
    b"--bb\r\n",
    b"--bxx",
    b"--b\n",
    b"preamble\r\n" + multipart(field(b"a", b"1")),
    multipart(field(b"a", b"1"))[:-5],
    multipart(field(b"a", b"1"))[:-7],
    multipart(field(b"a", b"1"), b"no header\r\n\r\nx"),
    multipart(b"A: b\r\n\r\nx"),
    multipart(b"\r\nx"),
    multipart(field(b"a", b"\r\n--bad")),
    multipart(b"Content-Disposition: form-data\r\n\r\nx"),
    multipart(b"Content-Disposition: attachment; name=a\r\n\r\nx"),
    multipart(b"Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\nx"),
    multipart(field(b"a", b"1", b"Content-Type: a/b\r\nContent-Type: c/d\r\n")),
    multipart(field(b"a", b"1", b"Content-Type: multipart/mixed; boundary=c\r\n")),
    multipart(field(b"a", b"1", b"Content-Transfer-Encoding: base64\r\n")),
    multipart(field(b"a", b"1", b"Content-Type: text/plain; charset=zlib\r\n")),
    multipart(field(b"a", b"1", b"Content-Length: x\r\n")),
    multipart(field(b"a\0", b"1")),
    multipart(field(b"a\nX: y", b"1")),
    multipart(field(b"a\rX: y", b"1")),
    multipart(field(b"a", b"1", b"X: y\nZ: w\r\n")),
    multipart(field(b"a\xff", b"1")),
    multipart(b" continued\r\n\r\n"),
    multipart(field(b"a", b"1", b"A b: c\r\n")),
    multipart(b"Content-Disposition: form-data; name=a; filename*=UTF-8''%E9\r\n\r\n"),
    multipart(b"Content-Disposition: form-data; name=a; filename*=x\r\n\r\n"),
    multipart(field(b"a", b"1", b"A: b\r\n" * MAX_LINES)),
]


@pytest.mark.parametrize("data", WELL_FORMED)
def test_the_same_at_every_split(data: bytes) -> None:
    whole = read([data])
    assert isinstance(whole, list)
    for pieces in every_split(data):
        assert read(pieces) == whole


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_is_a_400_in_the_same_words_at_every_split(data: bytes) -> None:
    outcomes = {repr(read(pieces)) for pieces in every_split(data)}
    assert len(outcomes) == 1
    assert said(data)


def test_what_is_said_of_it() -> None:
    assert said(MALFORMED[1]) == "the multipart form does not begin with its boundary"
    assert said(MALFORMED[7]) == "the multipart form ends before its last boundary"
    assert said(multipart(field(b"a", b"1", b"Content-Type: multipart/mixed\r\n"))).endswith("(RFC 7578, 4.3)")
    assert said(multipart(field(b"a\0", b"1"))).startswith("a part's header has a malformed line")


@pytest.mark.parametrize("extra", [0, 1])
def test_a_header_line_at_its_bound_and_one_past_it(extra: int) -> None:
    line = b"X: " + b"y" * (MAX_LINE_BYTES - 3 + extra)
    data = multipart(field(b"a", b"1", line + b"\r\n"))
    ends = [len(b"--b\r\n") + len(field(b"a", b"", line)) + i - 3 for i in range(-3, 4)]
    for pieces in [[data], [data[i : i + 1] for i in range(len(data))], *([data[:i], data[i:]] for i in ends)]:
        outcome = read(pieces)
        assert isinstance(outcome, tuple) is bool(extra)


def test_as_many_lines_as_are_allowed() -> None:
    assert len(read([multipart(field(b"a", b"1", b"A: b\r\n" * (MAX_LINES - 1)))])) == 1


def test_fields_and_files_at_their_bounds_and_one_past_them() -> None:
    fields, files = [field(b"a", b"1")] * 2, [file(b"f", b"x", b"1")]
    assert len(read([multipart(*fields, *files)], FEW)) == 3
    assert said(multipart(*fields, *files, *fields[:1]), FEW, 413) == "more than 2 fields"
    assert said(multipart(*files, *files), FEW, 413) == "more than 1 files"


def test_a_million_fields_are_refused_at_the_first_that_is_too_many() -> None:
    parser = FormDataParser("b", FEW)
    piece = multipart(*[field(b"a", b"1")] * 2)[:-7] + b"\r\n"
    taken: list[Any] = []
    with pytest.raises(LimitFault):
        deque(map(taken.append, chain.from_iterable(parser.feed(piece) for _ in range(500_000))))
    assert len(taken) == 6


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        (b'name="a%22b"; filename="c%0D%0Ad.txt"', 'a"b', "c\r\nd.txt"),  # as browsers send them
        (b'name="a"; filename="x\\"y"', "a", 'x"y'),  # as curl does
        (b'name="a"; filename="C:\\dir\\x.txt"', "a", "x.txt"),
        (b'name="a"; filename=""', "a", ""),
        (b'name="\xc3\xa9"; filename="\xe4\xb8\xad.txt"', "\u00e9", "\u4e2d.txt"),
        (b"name=a; filename*=UTF-8''%E4%B8%AD.txt", "a", "\u4e2d.txt"),
        (b"name=a; filename*=iso-8859-1'en'%E9", "a", "\u00e9"),
        (b"name=a; filename=plain; filename*=UTF-8''other", "a", "plain"),
        (b"name=\"x; filename*=UTF-8''y\"", "x; filename*=UTF-8''y", None),
        (b"name=a; x=\"; filename*=UTF-8''y", "a", None),
    ],
)
def test_names_as_clients_write_them(disposition: bytes, name: str, filename: str | None) -> None:
    for pieces in every_split(multipart(b"Content-Disposition: form-data; %s\r\n\r\n1" % disposition)):
        ((head, _),) = read(pieces)
        assert (head.name, head.filename) == (name, filename)


def test_charsets() -> None:
    ((head, _),) = read([multipart(field(b"\xe9", b"\xe9"))], codec="latin_1")
    assert (head.name, head.codec) == ("\u00e9", None)
    ((head, _),) = read([multipart(field(b"a", b"\xe9", b"Content-Type: text/plain; charset=latin-1\r\n"))])
    assert (head.content_type, head.codec) == ("text/plain", "latin_1")
    binary = b"Content-Disposition: form-data; name=a; filename=b\r\nContent-Type: a/b; charset=binary\r\n\r\n"
    assert len(read([multipart(binary)])) == 1  # of a file it does not matter


@pytest.mark.parametrize("boundary", ["a", "a" * 70, "-----x'()+_,-./:=? y", "0"])
def test_boundaries(boundary: str) -> None:
    assert boundary_of(f'multipart/form-data; boundary="{boundary}"') == boundary
    assert len(read([multipart(field(b"a", b"1"), boundary=boundary.encode())], boundary=boundary)) == 1


@pytest.mark.parametrize(
    "options",
    ["", "; boundary=", '; boundary=""', f"; boundary={'a' * 71}", '; boundary="a "', '; boundary="a\u00e9"']
    + ["; boundary=a; boundary=b", '; boundary="a@b"', "; charset=utf-8"],
)
def test_what_is_no_boundary(options: str) -> None:
    with pytest.raises(PeerFault) as raised:
        boundary_of("multipart/form-data" + options)
    assert raised.value.status == 400


TOKENS = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r",
        b"\n",
        b"--",
        b"b",
        b": ",
        b" ",
        b"x",
        b"\xff",
        b'Content-Disposition: form-data; name="a"',
    ]
    + [b"; filename=x", b"Content-Type: text/plain", b"\r\n\r\n", b"\r\n--b\r\n", b"Content-Length: 1", b"\r\n--b--"]
)


@settings(deadline=None)
@given(st.lists(TOKENS, max_size=14).map(b"".join), st.integers(0, 3))
def test_heaps_of_pieces_have_one_verdict(data: bytes, start: int) -> None:
    data = [b"", b"--b\r\n", b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n', b"\r\n--b\r\n"][start] + data
    outcomes = {repr(read(pieces, FEW)) for pieces in every_split(data)}
    assert len(outcomes) == 1, outcomes
