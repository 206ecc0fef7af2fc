"""A body awaited piece by piece, and a form part by part, while it arrives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from zope.interface import implementer

from hardhttp import IStreamingResource, Limits
from hardhttp.errors import HTTPError
from hardhttp.testing import Peer, Rig, every_split
from hardhttp.web.bodystream import ClientLeft
from hardhttp.web.routing import Router
from tests.twistd_process import ENVIRONMENT, ROOT
from tests.web.saying import GET, Says, say
from tests.web.test_forms import MULTIPART, URLENCODED, field, multipart

Handler = Callable[[Any], Awaitable[Any]]
FEW = Limits(max_form_fields=2, max_form_files=1, max_form_bytes=10)


@implementer(IStreamingResource)
class Early(Says):
    """Its handler is called at the head."""


async def whole(request: Any) -> bytes:
    pieces = [piece async for piece in request.body_stream()]
    assert all(pieces)
    return b"".join(pieces)


async def parts(request: Any) -> bytes:
    """Every part with its content."""
    found = []
    async for part in request.stream_form():
        content = b"".join([piece async for piece in part])
        found.append([part.name, part.filename, content.decode("latin-1")])
    return json.dumps(found).encode()


def head(length: int = 10, kind: bytes = b"text/plain", **headers: bytes) -> bytes:
    return say(b"POST", Content_Length=b"%d" % length, Content_Type=kind, **headers)


BOTH = pytest.mark.parametrize("resource", [Early, Says])


# -- bodies --------------------------------------------------------------------------------------


@BOTH
def test_the_same_however_it_is_split(resource: Any) -> None:
    with Rig(resource(whole)) as rig:
        chunked = say(b"POST", Transfer_Encoding=b"chunked") + b"4\r\n0123\r\n6\r\n456789\r\n0\r\nX: y\r\n\r\n"
        for message in (head() + b"0123456789", chunked):
            for pieces in every_split(message + GET):
                first, second = rig.exchange(*pieces)
                assert (first.body, second.body) == (b"0123456789", b"")


@BOTH
@pytest.mark.parametrize("length", [0, 1, 16 * 1024, 16 * 1024 + 1, 200_000])
def test_every_length(resource: Any, length: int) -> None:
    with Rig(resource(whole), limits=Limits(spool_bytes=100_000)) as rig:
        peer = rig.connect()
        body = bytes(range(250)) * (length // 250 + 1)
        peer.send(head(length), *[body[:length][i : i + 60_000] for i in range(0, length, 60_000)])
        assert peer.responses()[0].body == body[:length]


def test_the_client_is_invited_when_the_body_is_asked_for() -> None:
    later: Deferred[None] = Deferred()

    async def answer(request: Any) -> bytes:
        await later
        return await whole(request)

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(head(Expect=b"100-continue"))
        assert peer.received == b""
        later.callback(None)
        peer.send(b"0123456789")
        assert [response.status for response in peer.responses()] == [100, 200]


def test_a_handler_that_is_slow_holds_the_client_and_little_else() -> None:
    steps: list[Deferred[None]] = []
    sizes: list[int] = []

    async def answer(request: Any) -> bytes:
        async for piece in request.body_stream():
            sizes.append(len(piece))
            steps.append(Deferred())
            await steps[-1]
        return b"%d" % sum(sizes)

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(head(300_000), *[b"x" * 10_000] * 30)
        rig.advance(600)  # nor does a deadline run
        assert peer.unread >= 270_000
        assert len(steps) == 1
        done = 0
        while done < len(steps):
            done += 1
            steps[done - 1].callback(None)
            rig.clock.turn()
            assert sum(sizes) <= 10_000 * (done + 1)
        assert peer.responses()[0].body == b"300000"
        assert not peer.ended


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.reset])
@pytest.mark.parametrize("sent", [b"", b"01234"])
def test_when_the_client_goes_the_iterator_raises(leave: Any, sent: bytes) -> None:
    caught: list[BaseException] = []

    async def answer(request: Any) -> bytes:
        try:
            return await whole(request)
        except BaseException as error:
            caught.append(error)
            raise

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(head(), sent)
        leave(peer)
        assert peer.closed
        assert [type(error) for error in caught] == [ClientLeft]
        assert isinstance(caught[0], ConnectionLost)
        assert isinstance(caught[0], CancelledError)
        assert rig.site.statistics.errors == 0  # it is not the handler's failure
    for error in caught:
        error.__traceback__ = None


def test_when_the_client_goes_while_the_handler_is_busy() -> None:
    """It is cancelled; if it goes on nevertheless, the iterator raises."""
    caught: list[str] = []

    async def answer(request: Any) -> None:
        stream = request.body_stream()
        await stream.__anext__()
        try:
            await Deferred()
        except CancelledError:
            caught.append("cancelled")
        try:
            await stream.__anext__()
        except ClientLeft:
            caught.append("left")

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(say(b"POST", Transfer_Encoding=b"chunked"), b"2\r\n01\r\n2\r\n23\r\n")  # one piece is waiting
        peer.reset()
        rig.advance(1)
        assert not peer.closed  # nothing is read while the handler is busy, so nothing is seen
        peer.transport.abortConnection()
        rig.clock.turn()
        assert caught == ["cancelled", "left"]


def test_a_stream_that_is_dropped_frees_its_connection() -> None:
    async def answer(request: Any) -> bytes:
        async for piece in request.body_stream():
            return piece
        return b""

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(head(1000), b"some")
        (response,) = peer.responses()
        assert (response.body, response.get(b"connection")) == (b"some", b"close")
        assert peer.ended
        rig.advance(10)
        assert peer.closed


def test_a_stream_is_one_reader_s_and_had_once() -> None:
    async def answer(request: Any) -> bytes:
        stream = request.body_stream()
        with pytest.raises(RuntimeError, match="taken already"):
            request.body_stream()
        first = Deferred.fromCoroutine(stream.__anext__())
        with pytest.raises(RuntimeError, match="another coroutine"):
            await stream.__anext__()
        return bytes(await first)

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(head(1))
        peer.send(b"x")
        assert peer.responses()[0].body == b"x"


def test_too_much_ends_the_stream() -> None:
    with Rig(Early(whole), limits=Limits(max_body_bytes=10)) as rig:
        peer = rig.connect()
        peer.send(say(b"POST", Transfer_Encoding=b"chunked"), b"a\r\n0123456789\r\n", b"1\r\nx\r\n")
        assert peer.responses()[0].status == 413
        assert rig.site.statistics.errors == 0


@pytest.mark.parametrize("asked", [lambda r: r.json(), lambda r: r.text(), lambda r: r.form(), lambda r: r.uploads])
def test_what_needs_a_whole_body_says_so(asked: Any) -> None:
    async def answer(request: Any) -> bytes:
        with pytest.raises(RuntimeError, match="comes as a stream"):
            asked(request)
        return await whole(request)

    with Rig(Early(answer)) as rig:
        assert rig.exchange(head() + b"0123456789")[0].body == b"0123456789"


def test_a_body_that_was_read_is_given_back_by_the_time_the_request_ends() -> None:
    streams: list[Any] = []

    async def answer(request: Any) -> bytes:
        streams.append(request.body_stream())
        return await streams[0].__anext__()

    with Rig(Says(answer)) as rig:
        assert rig.exchange(head() + b"0123456789")[0].body == b"0123456789"
        outcome: list[Any] = []
        Deferred.fromCoroutine(streams[0].__anext__()).addBoth(outcome.append)
        rig.clock.turn()
        assert outcome[0].check(ClientLeft)


# -- forms ---------------------------------------------------------------------------------------

FORM = multipart(field(b"a", b"1"), field(b'f"; filename="x', b"\r\n--\r\n" * 20), field(b"b", b""))
SEEN = [["a", None, "1"], ["f", "x", "\r\n--\r\n" * 20], ["b", None, ""]]


@BOTH
def test_the_same_parts_however_they_are_split(resource: Any) -> None:
    with Rig(resource(parts)) as rig:
        for pieces in every_split(head(len(FORM) + 8, MULTIPART) + FORM + b"epilogue"):
            assert json.loads(rig.exchange(*pieces)[0].body) == SEEN


@BOTH
def test_a_form_taken_whole_leaves_the_connection_open(resource: Any) -> None:
    with Rig(resource(parts)) as rig:
        message = head(len(FORM), MULTIPART) + FORM
        assert len(rig.exchange(message, message, message)) == 3


def test_a_part_comes_before_the_form_is_whole() -> None:
    seen: list[Any] = []

    async def answer(request: Any) -> bytes:
        nonlocal seen
        async for part in request.stream_form():
            seen.append((part.name, part.filename, part.safe_filename, part.content_type, len(part.headers)))
            async for piece in part:
                seen += [piece]  # at once, not when the part has ended
        return b"done"

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        body = multipart(field(b'f"; filename="../x', b"0123456789"))
        at = body.index(b"56789")
        peer.send(head(len(body), MULTIPART), body[:at])
        assert seen == [("f", "../x", "x", "application/octet-stream", 1), b"01234"]
        peer.send(body[at:])
        assert seen[2:] == [b"56789"]
        assert peer.responses()[0].body == b"done"


@BOTH
def test_what_is_not_taken_is_passed_over(resource: Any) -> None:
    async def answer(request: Any) -> bytes:
        names = []
        kept: Any = None
        async for part in request.stream_form():
            names.append(part.name)
            if kept is not None:
                assert [piece async for piece in kept] == []  # its time is over
            if part.filename is not None:
                await part.__anext__()
                kept = part
        assert [piece async for piece in kept] == []
        return " ".join(names).encode()

    body = multipart(field(b"a", b"1"), field(b'f"; filename="x', b"23"), field(b"b", b"4"))
    with Rig(resource(answer)) as rig:
        for pieces in every_split(head(len(body), MULTIPART) + body):
            assert rig.exchange(*pieces)[0].body == b"a f b"


def test_parts_in_memory_are_bounded() -> None:
    async def answer(request: Any) -> Any:
        part = await request.stream_form().__anext__()
        return await (part.read() if part.name == "raw" else part.text(None if part.name == "a" else 3))

    for name, value, outcome in [
        (b"a", b"x" * 10, b"x" * 10),
        (b"a", b"x" * 11, 413),
        (b"b", b"xxx", b"xxx"),
        (b"b", b"xxxx", 413),
        (b"b", b"\xe9", 400),
        (b"raw", b"\xe9", b"\xe9"),
    ]:
        with Rig(Early(answer), limits=FEW) as rig:
            body = multipart(field(name, value))
            (response,) = rig.exchange(head(len(body), MULTIPART) + body)
            assert outcome in (response.status, response.body)


def test_text_in_the_charset_of_its_part_or_its_form() -> None:
    async def answer(request: Any) -> str:
        return "".join([await part.text() async for part in request.stream_form("latin-1")])

    part = b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=cp1252\r\n\r\n\x80'
    body = multipart(part, field(b"b", b"\xe9"))
    with Rig(Early(answer)) as rig:
        assert rig.exchange(head(len(body), MULTIPART) + body)[0].body == "\u20ac\u00e9".encode()


@BOTH
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"garbage", MULTIPART, 400),
        (FORM[:-5], MULTIPART, 400),
        (multipart(b"A: b\r\n\r\n"), MULTIPART, 400),
        (multipart(*[field(b"a", b"")] * 3), MULTIPART, 413),
        (multipart(*[field(b'a"; filename="b', b"")] * 2), MULTIPART, 413),
        (FORM, b"multipart/form-data", 400),
        (FORM, MULTIPART + b"; charset=zlib", 415),
        (b"a=1", URLENCODED, 415),
    ],
)
def test_what_is_no_such_form_is_refused(resource: Any, body: bytes, kind: bytes, status: int) -> None:
    with Rig(resource(parts), limits=FEW) as rig:
        for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
            assert rig.exchange(head(len(body), kind), *pieces)[0].status == status
        assert rig.site.statistics.errors == 0
        assert sum(rig.site.statistics.refused.values()) == 2


def test_a_client_that_goes_amid_a_part() -> None:
    with Rig(Early(parts)) as rig:
        peer = rig.connect()
        peer.send(head(len(FORM), MULTIPART), FORM[:150])
        peer.reset()
        assert peer.closed
        assert rig.site.statistics.errors == 0


# -- forms, loaded -------------------------------------------------------------------------------


async def loaded(request: Any) -> bytes:
    form = await request.load_form()
    assert form is await request.load_form()
    assert form is request.form()
    files = [[name, upload.filename, upload.read().decode("latin-1")] for name, upload in form.files.pairs()]
    return json.dumps([form.fields.pairs(), files]).encode()


LOADED = [[["a", "1"], ["b", ""]], [SEEN[1]]]


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("spool_bytes", [0, 1 << 20])
def test_a_form_read_in_turns_is_the_same(resource: Any, spool_bytes: int) -> None:
    with Rig(resource(loaded), limits=Limits(spool_bytes=spool_bytes)) as rig:
        for pieces in every_split(head(len(FORM), MULTIPART) + FORM):
            assert json.loads(rig.exchange(*pieces)[0].body) == LOADED
        (response,) = rig.exchange(head(7, URLENCODED) + b"a=1&b=2")
        assert json.loads(response.body) == [[["a", "1"], ["b", "2"]], []]
        assert json.loads(rig.exchange(GET)[0].body) == [[], []]


@BOTH
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"garbage", MULTIPART, 400),
        (FORM[:-5], MULTIPART, 400),
        (b"a&b&c", URLENCODED, 413),
        (b"a=%E9", URLENCODED, 400),
        (b"a=" + b"x" * 9, URLENCODED, 413),
        (b"[]", b"application/json", 415),
    ],
)
def test_a_form_read_in_turns_is_refused_as_any(resource: Any, body: bytes, kind: bytes, status: int) -> None:
    with Rig(resource(loaded), limits=FEW) as rig:
        (response,) = rig.exchange(head(len(body), kind) + body)
        assert response.status == status
        assert rig.site.statistics.errors == 0


def test_others_have_their_turn_while_a_form_is_read() -> None:
    turns: list[int] = []

    async def answer(request: Any) -> bytes:
        if request.method == b"GET":
            return b""
        reactor.callLater(0, note)
        form = await request.load_form()
        assert len(turns) >= 400_000 // (16 * 1024)
        return b"%d" % form.files["f"].size

    def note() -> None:
        turns.append(1)
        reactor.callLater(0, note) if len(turns) < 1000 else None

    body = multipart(field(b'f"; filename="x', b"y" * 400_000))
    with Rig(Says(answer)) as rig:
        reactor = rig.clock
        assert rig.exchange(head(len(body), MULTIPART), body)[0].body == b"400000"


def test_a_form_that_is_loaded_as_it_comes_is_in_the_ledger_and_ends_with_its_request() -> None:
    kept: list[Any] = []

    async def answer(request: Any) -> bytes:
        kept.append((await request.load_form()).files["f"])
        return b"ok"

    body = multipart(field(b'f"; filename="x', b"y" * 50_000))
    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(head(len(body), MULTIPART), body[:20_000], body[20_000:40_000])
        assert 20_000 <= rig.site.ledger.snapshot()["body_bytes"] <= 40_000
        peer.send(body[40_000:])
        assert peer.responses()[0].body == b"ok"
        assert rig.site.ledger.snapshot()["body_bytes"] == 0
        with pytest.raises(ValueError, match="the request has ended"):
            kept[0].read()


PIECES = st.lists(st.sampled_from([b"--limit", b"\r\n", b"--", field(b"a", b""), field(b'f"; filename="x', b""), b"y"]))


@given(PIECES.map(b"".join), st.lists(st.integers(0, 400), max_size=4), st.sampled_from([parts, loaded]))
def test_no_bytes_are_a_500(body: bytes, places: list[int], handler: Handler) -> None:
    body = b"--limit\r\n" + body
    cuts = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    pieces = [body[start:end] for start, end in pairwise(cuts)]
    with Rig(Early(handler), limits=FEW) as rig:
        (response,) = rig.exchange(head(len(body), MULTIPART), *pieces)
        assert response.status in (200, 400, 413)


SCRIPT = """
import gc, json
gc.disable()
from hardhttp.testing import Rig
from tests.web.saying import GET
from tests.web.test_bodystream import FORM, MULTIPART, Early, head, loaded, parts, whole

async def dropped(request):
    async for part in request.stream_form():
        async for piece in part:
            return piece

whole_form = head(len(FORM), MULTIPART) + FORM
messages = [whole_form, whole_form[:-9], whole_form.replace(b"--limit--", b"--limit-x")]

def go(rig):
    for message in messages:
        peer = rig.connect()
        peer.send(message[:150], message[150:])
        peer.reset()
        rig.peers.clear()

for handler in (whole, parts, loaded, dropped):
    with Rig(Early(handler)) as rig:
        go(rig)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(5):
            go(rig)
        gc.collect()
        gc.set_debug(0)
print(json.dumps(sorted({f"{type(thing).__module__}.{type(thing).__name__}" for thing in gc.garbage})))
"""


@pytest.mark.slow
def test_nothing_is_left_for_the_collector() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_an_http_error_amid_a_stream_is_an_answer() -> None:
    async def answer(request: Any) -> bytes:
        async for _ in request.body_stream():
            raise HTTPError(422, "not this")
        return b""

    with Rig(Early(answer)) as rig:
        peer = rig.connect()
        peer.send(head(1000), b"x")
        assert peer.responses()[0].status == 422
        assert peer.ended


def test_a_route_takes_the_body_as_it_comes() -> None:
    router = Router()
    router.post("/early", stream=True)(parts)
    router.post("/late")(parts)
    with Rig(router) as rig:
        for path in (b"/early", b"/late"):
            message = say(b"POST", path, FORM, Content_Type=MULTIPART)
            for pieces in ([message], [message[i : i + 1] for i in range(len(message))]):
                assert json.loads(rig.exchange(*pieces)[0].body) == SEEN
