"""What a request is asked: query, JSON, text, forms, cookies; and that it all ends with the request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web import server

from hardhttp import Limits, Request, Site
from hardhttp.errors import HTTPError
from hardhttp.testing import Response, Rig, every_split
from hardhttp.web.asking import form_of, json_of, query_of, text_of
from hardhttp.web.forms import read_form
from hardhttp.web.multidict import MultiDict
from hardhttp.wire.cookies import set_cookie
from tests.twistd_process import ENVIRONMENT, ROOT
from tests.web.saying import GET, Says, form, say
from tests.web.test_forms import MULTIPART, URLENCODED, field, multipart

FEW = Limits(max_form_fields=3, max_form_files=1, max_form_bytes=100, max_json_depth=2, spool_bytes=50)
JSON = b"application/json"


def ask(answer: Any, *requests: bytes, limits: Limits = FEW) -> list[Response]:
    """The responses of ``answer`` to ``requests`` over one connection, which stays."""
    with Rig(Says(answer), limits=limits) as rig:
        peer = rig.connect()
        peer.send(*requests)
        responses = peer.responses()
        assert not peer.ended
        assert rig.site.statistics.errors == 0
        return responses


def post(body: bytes, kind: bytes | None = JSON) -> bytes:
    return say(b"POST", b"/", body) if kind is None else say(b"POST", b"/", body, Content_Type=kind)


def in_json(value: Any) -> bytes:
    return json.dumps(value).encode()


# -- the query -----------------------------------------------------------------------------------


def test_a_query() -> None:
    def answer(request: Any) -> bytes:
        query = request.query
        assert query is request.query
        assert isinstance(query, MultiDict)
        return in_json([query.pairs(), query.get("a"), query.get_int("n", 7)])

    (first, second, third) = ask(answer, say(target=b"/?a=1&b=%E9&a=2"), say(target=b"/"), say(target=b"/?n=5"))
    assert json.loads(first.body) == [[["a", "1"], ["b", "\ufffd"], ["a", "2"]], "1", 7]
    assert json.loads(second.body) == [[], None, 7]
    assert json.loads(third.body) == [[["n", "5"]], None, 5]


def test_what_is_wrong_with_a_query_is_said_and_the_connection_goes_on() -> None:
    def answer(request: Any) -> bytes:
        return request.query["page"].encode() + b"%d" % request.query.get_int("n", 1)

    requests = [say(target=b"/?" + query) for query in (b"a&b&c&d", b"a=1", b"page=1&n=x", b"page=1")]
    responses = ask(answer, *requests)
    assert [response.status for response in responses] == [413, 400, 400, 200]
    assert b"page" in responses[1].body
    assert b"whole number" in responses[2].body


# -- JSON ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"a": [1]}', b"application/json", 200),
        (b"\xef\xbb\xbf[1]", b"application/json; charset=UTF-8", 200),
        (b"1", b"Application/JSON;charset=us-ascii", 200),
        (b"1", b"application/problem+json", 200),
        (b"1", b"application/json; charset=latin-1", 415),
        (b"1", b"application/json; charset=klingon", 415),
        (b"1", b"text/json", 415),
        (b"1", b"text/plain", 415),
        (b"1", b"application/jsonp", 415),
        (b"1", None, 415),
        (b"", b"application/json", 400),
        (b"[", b"application/json", 400),
        (b"[[[]]]", b"application/json", 400),
        (b"9" * 5000, b"application/json", 400),
        (b"[NaN]", b"application/json", 400),
        (b"\xff", b"application/json", 400),
    ],
)
def test_json(body: bytes, kind: bytes | None, status: int) -> None:
    response, after = ask(
        lambda request: in_json(request.json()) if request.method == b"POST" else b"", post(body, kind), GET
    )
    assert (response.status, after.status) == (status, 200)


def test_a_mistake_is_placed_and_nothing_is_quoted() -> None:
    (response,) = ask(lambda request: in_json(request.json()), post(b'{"a": 1,\n  "b": secret}'))
    assert b"line 2, column 8" in response.body
    assert b"secret" not in response.body


def test_json_with_other_wishes() -> None:
    def answer(request: Any) -> bytes:
        return in_json(request.json(any_type=True, unique_keys=True))

    taken, refused = ask(answer, post(b'{"a": 1}', b"text/plain; charset=x"), post(b'{"a": 1, "a": 2}'))
    assert (taken.body, refused.status) == (b'{"a": 1}', 400)


@pytest.mark.parametrize("spool_bytes", [0, 100])
def test_json_is_refused_by_its_size_before_it_is_read(spool_bytes: int) -> None:
    limits = Limits(max_json_bytes=10, spool_bytes=spool_bytes)
    requests = post(b"[" + b" " * 8 + b"]"), post(b"[" + b" " * 9 + b"]"), post(b"\xff" * 11), GET
    responses = ask(
        lambda request: in_json(request.json()) if request.method == b"POST" else b"", *requests, limits=limits
    )
    assert [response.status for response in responses] == [200, 413, 413, 200]
    assert b"longer than 10 bytes" in responses[1].body


def test_json_may_be_asked_for_again_and_the_content_is_at_its_beginning() -> None:
    def answer(request: Any) -> bytes:
        request.content.read(1)
        return in_json([request.json(), request.json()]) + request.content.read()

    assert ask(answer, post(b"[1]"))[0].body == b"[[1], [1]][1]"


# -- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "outcome"),
    [
        ("Gr\u00fc\u00dfe".encode(), b"text/plain", "Gr\u00fc\u00dfe"),
        ("Gr\u00fc\u00dfe".encode(), None, "Gr\u00fc\u00dfe"),
        ("Gr\u00fc\u00dfe".encode("latin-1"), b"text/plain; charset=ISO-8859-1", "Gr\u00fc\u00dfe"),
        ("\u4e2d".encode("utf-16"), b'text/plain; charset="utf-16"', "\u4e2d"),
        (b"", None, ""),
        (b"\xe9", b"text/plain", 400),
        (b"\xe9", b"text/plain; charset=us-ascii", 400),
        (b"a", b"text/plain; charset=zlib", 415),
        (b"a", b"text/plain; charset=klingon", 415),
    ],
)
def test_text(body: bytes, kind: bytes | None, outcome: str | int) -> None:
    (response,) = ask(lambda request: request.text(), post(body, kind))
    if isinstance(outcome, int):
        assert response.status == outcome
    else:
        assert response.body.decode() == outcome


def test_text_in_a_charset_of_the_applications() -> None:
    assert ask(lambda request: request.text("latin-1"), post(b"\xe9", None))[0].body == "\u00e9".encode()


# -- forms ---------------------------------------------------------------------------------------


def shown(request: Any) -> bytes:
    found = request.form()
    assert request.form() is found
    assert request.uploads is found.files
    files = [(name, upload.filename, upload.read().decode("latin-1")) for name, upload in found.files.pairs()]
    return in_json([found.fields.pairs(), files])


FILE = field(b'f"; filename="x', b"\r\n" * 30)
GOOD = [
    (b"a=1&b=%C3%A9", URLENCODED, [[["a", "1"], ["b", "\u00e9"]], []]),
    (multipart(field(b"a", b"1"), FILE), MULTIPART, [[["a", "1"]], [["f", "x", "\r\n" * 30]]]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("body", "kind", "seen"), GOOD)
def test_the_same_form_however_it_comes(body: bytes, kind: bytes, seen: Any) -> None:
    """In memory or spooled, by length or in chunks, invited or not, at every split."""
    chunked = say(b"POST", Content_Type=kind, Transfer_Encoding=b"chunked")
    for piece in [body[i : i + 7] for i in range(0, len(body), 7)]:
        chunked += b"%x\r\n%s\r\n" % (len(piece), piece)
    chunked += b"0\r\n\r\n"
    for spool_bytes in (0, 1000):
        with Rig(Says(shown), limits=Limits(spool_bytes=spool_bytes)) as rig:
            for message in (form(body, kind), chunked):
                for pieces in every_split(message):
                    assert json.loads(rig.exchange(*pieces)[0].body) == seen
            peer = rig.connect()
            peer.send(say(b"POST", Content_Type=kind, Expect=b"100-continue", Content_Length=b"%d" % len(body)))
            assert peer.responses()[0].status == 100
            peer.send(body)
            assert json.loads(peer.responses()[1].body) == seen


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"a&b&c&d", URLENCODED, 413, "form-fields"),
        (b"a=" + b"x" * 99, URLENCODED, 413, "form-bytes"),
        (b"a=%E9", URLENCODED, 400, "bad-form"),
        (b"a=1", URLENCODED + b"; charset=zlib", 415, "bad-form"),
        (multipart(*[field(b"a", b"")] * 4), MULTIPART, 413, "form-fields"),
        (multipart(*[FILE] * 2), MULTIPART, 413, "form-fields"),
        (multipart(field(b"a", b"x" * 100)), MULTIPART, 413, "form-bytes"),
        (b"garbage", MULTIPART, 400, "bad-form"),
        (b"", MULTIPART, 400, "bad-form"),
        (multipart(), b"multipart/form-data", 400, "bad-form"),
        (multipart(), b"multipart/form-data; boundary=" + b"b" * 71, 400, "bad-form"),
        (b"{}", JSON, 415, "bad-form"),
        (b"a=1", None, 415, "bad-form"),
    ],
)
def test_a_form_that_is_refused_is_counted_and_the_connection_goes_on(
    body: bytes, kind: bytes | None, status: int, reason: str
) -> None:
    with Rig(Says(shown), limits=FEW) as rig:
        peer = rig.connect()
        peer.send(post(body, kind), GET)
        assert [response.status for response in peer.responses()] == [status, 200]
        assert {name: n for name, n in rig.site.statistics.refused.items() if n} == {reason: 1}
        assert not peer.ended


def test_a_form_is_gone_through_by_its_names() -> None:
    """It was asked for ``form[0]``, and its client told that 0 is missing."""
    seen: list[Any] = []

    def answer(request: Any) -> bytes:
        form = request.form()
        seen.append((list(form), dict(form)))
        return b""

    with Rig(Says(answer)) as rig:
        assert rig.exchange(form(b"a=1&b=2&a=3", URLENCODED))[0].status == 200
    assert seen == [(["a", "b"], {"a": "1", "b": "2"})]


def test_no_body_is_an_empty_form_whatever_the_method() -> None:
    put = say(b"PUT", body=b"a=1", Content_Type=URLENCODED)
    with Rig(Says(shown)) as rig:
        rig.site.resource.render_PUT = shown
        assert [json.loads(response.body) for response in rig.exchange(GET, put)] == [[[], []], [[["a", "1"]], []]]


def test_a_charset_of_the_applications() -> None:
    def answer(request: Any) -> Any:
        return request.form(charset="latin-1")["a"]

    assert ask(answer, form(b"a=%E9"))[0].body == "\u00e9".encode()


def test_args_and_a_form_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is asked for first; each keeps its own bounds."""
    reads: list[Any] = []

    def counted(reader: Any, content: Any) -> Any:
        reads.append(reader)
        return read_form(reader, content)

    monkeypatch.setattr("hardhttp.web.asking.read_form", counted)

    def answer(request: Any) -> bytes:
        args_first = request.uri == b"/?q=1"
        args = request.args if args_first else None
        found = request.form()
        assert args is None or args is request.args
        assert request.args[b"a"] == [b"1"] == [found["a"].encode()]
        assert request.content.read() != b""
        return b"%d" % len(request.args)

    body = multipart(field(b"a", b"1"), FILE)
    other = say(b"POST", b"/", body, Content_Type=MULTIPART)
    assert [response.body for response in ask(answer, form(body, MULTIPART), other)] == [b"3", b"2"]
    assert len(reads) == 2


def test_args_may_be_longer_than_a_form() -> None:
    def answer(request: Any) -> bytes:
        assert len(request.args[b"a"][0]) == 200
        with pytest.raises(HTTPError) as raised:
            request.form()
        return b"%d" % raised.value.status

    for body, kind in ((b"a=" + b"x" * 200, URLENCODED), (multipart(field(b"a", b"x" * 200)), MULTIPART)):
        assert ask(answer, form(body, kind))[0].body == b"413"


@given(st.sampled_from([JSON, URLENCODED, MULTIPART]), st.binary(max_size=80), st.booleans())
def test_random_bytes_are_never_a_500(kind: bytes, body: bytes, begun: bool) -> None:
    def answer(request: Any) -> bytes:
        request.json() if kind is JSON else request.form()
        return b""

    start = (b"--limit\r\n" + field(b"a", b"") if kind is MULTIPART else b"") if begun else b""
    (response,) = ask(answer, post(start + body, kind))
    assert response.status in (200, 400, 413)


# -- cookies and the rest ------------------------------------------------------------------------


def test_cookies() -> None:
    def answer(request: Any) -> bytes:
        return in_json([request.cookie("a"), request.cookie("b"), request.cookie("c")])

    (response,) = ask(answer, say(Cookie=b"a=1; b=\xc3\xa9\xff; a=2"))
    assert json.loads(response.body) == ["1", "\u00e9\ufffd", None]


@given(st.text(max_size=200))
def test_a_cookie_is_the_text_it_was_set_to(text: str) -> None:
    value = set_cookie("a", text).partition(b";")[0].removeprefix(b"a=")
    (response,) = ask(lambda request: in_json(request.cookie("a")), say(Cookie=b"a=" + value))
    assert json.loads(response.body) == text


def test_user_data_is_each_requests_own() -> None:
    def answer(request: Any) -> bytes:
        request.user_data["n"] = request.user_data.get("n", 0) + 1
        return b"%d" % request.user_data["n"]

    assert [response.body for response in ask(answer, GET, GET)] == [b"1", b"1"]


def test_an_application_may_use_these_names_itself() -> None:
    class Own(Request):
        def __init__(self, *args: Any, **kw: Any) -> None:
            super().__init__(*args, **kw)
            self.query = "mine"  # type: ignore[assignment]

        def form(self, charset: str | None = None) -> Any:
            return "my form"

    with Rig(Says(lambda request: f"{request.query} {request.form()}"), requestFactory=Own) as rig:
        assert rig.exchange(GET)[0].body == b"mine my form"


class Old(server.Request):
    """A subclass of ``twisted.web``'s own."""


def test_a_subclass_of_twisted_webs_request_is_asked_the_same() -> None:
    body, kind, seen = GOOD[1]
    with Rig(Says(shown), requestFactory=Old) as rig:
        assert json.loads(rig.exchange(form(body, kind))[0].body) == seen


def test_any_request_is_asked_by_the_functions() -> None:
    """As ``twisted.web`` makes them."""

    class Plain:
        def __init__(self, kind: str, body: bytes) -> None:
            from io import BytesIO

            self.kind, self.content, self.uri = kind, BytesIO(body), b"/?a=1"

        def getHeader(self, name: bytes) -> bytes:
            return self.kind.encode()

    limits = Limits()
    assert query_of(Plain("", b""), limits)["a"] == "1"
    assert json_of(Plain("application/json", b"[1]"), limits) == [1]
    assert json_of(Plain("application/json", b"[1]"), Limits(max_json_bytes=3)) == [1]
    with pytest.raises(HTTPError, match="413"):
        json_of(Plain("application/json", b"[1]"), Limits(max_json_bytes=2))
    assert text_of(Plain("text/plain", b"x")) == "x"
    assert form_of(Plain(URLENCODED.decode(), b"a=1"), limits)["a"] == "1"
    with pytest.raises(HTTPError) as raised:
        form_of(Plain(MULTIPART.decode(), b"a=1"), limits)
    assert raised.value.status == 400


# -- ends ----------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("spool_bytes", [0, 1 << 20])
def test_uploads_end_with_their_request(spool_bytes: int) -> None:
    kept: list[Any] = []

    def answer(request: Any) -> Any:
        kept.append(request.uploads["f"])
        request.uploads["f"].file.read(1)
        return b"" if request.uri == b"/?q=1" else server.NOT_DONE_YET

    body = multipart(FILE)
    with Rig(Says(answer), limits=Limits(spool_bytes=spool_bytes)) as rig:
        before = descriptors()
        rig.exchange(form(body, MULTIPART))
        left = rig.connect()
        left.send(say(b"POST", b"/", body, Content_Type=MULTIPART))
        assert kept[1].read() == b"\r\n" * 30
        left.reset()
        assert left.closed
        assert descriptors() == before
    for upload in kept:
        with pytest.raises(ValueError, match="the request has ended"):
            upload.file.read()


@pytest.mark.parametrize("files", [1, 50])
def test_as_many_files_as_there_are_take_one_descriptor(files: int) -> None:
    opened: list[int] = []

    def answer(request: Any) -> bytes:
        uploads = request.uploads.getlist("f")
        content = b"".join(upload.file.read() for upload in uploads)
        opened.append(descriptors())
        return b"%d" % len(content)

    with Rig(Says(answer), limits=Limits(spool_bytes=0)) as rig:
        before = descriptors()
        assert rig.exchange(form(multipart(*[FILE] * files), MULTIPART))[0].body == b"%d" % (60 * files)
        assert opened == [before + 1]


def test_uploads_at_the_descriptor_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("hardhttp.web.body.tempfile.TemporaryFile", none_left)
    body, kind, seen = GOOD[1]
    assert json.loads(ask(shown, form(body, kind))[0].body) == seen


SCRIPT = """
import gc, json
gc.disable()
from hardhttp.testing import Rig
from tests.web.saying import Says, form, say
from tests.web.test_forms import MULTIPART, URLENCODED, field, multipart

def answer(request):
    if request.uri.startswith(b"/json"):
        return repr(request.json())
    if request.uri.startswith(b"/args"):
        return repr(len(request.args))
    found = request.form()
    return repr([upload.file.read() for upload in found.files.values()])

messages = [
    form(multipart(field(b"a", b"1"), field(b'f"; filename="x', b"y")), MULTIPART),
    form(multipart(field(b"a", b"1"))[:-9], MULTIPART),
    form(b"--limit\\r\\nA\\r\\n\\r\\n", MULTIPART),
    form(b"garbage", MULTIPART),
    form(b"a=%E9"),
    form(b"&" * 5000),
    form(b"x", b"text/plain"),
    say(b"POST", b"/json", b"[", Content_Type=b"application/json"),
    say(b"POST", b"/json", b"[1]", Content_Type=b"application/json"),
    say(b"POST", b"/args", multipart(field(b"a", b"1")), Content_Type=MULTIPART),
    say(target=b"/?" + b"&" * 5000),
]
with Rig(Says(answer)) as rig:
    peer = rig.connect()
    for message in messages:
        peer.send(message)
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    for _ in range(10):
        for message in messages:
            peer.send(message)
    gc.collect()
    found = [type(thing).__module__ + "." + type(thing).__name__ for thing in gc.garbage]
    gc.set_debug(0)
print(json.dumps(sorted(set(found))))
"""


@pytest.mark.slow
def test_nothing_is_left_for_the_collector() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_site_and_request_are_what_they_were() -> None:
    assert issubclass(Request, server.Request)
    assert Request._own_output
    assert issubclass(Site, server.Site)
