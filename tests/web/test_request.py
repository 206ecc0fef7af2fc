"""A request's life in every order of events, in memory and by a clock driven by hand."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web import http, server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource, Resource
from zope.interface import directlyProvides

from hardhttp import Limits
from hardhttp.errors import Fault, LimitFault, Reason
from hardhttp.testing import Peer, Rig
from hardhttp.web.routing import Router
from tests.web.saying import GET, Says, say

NOT_DONE_YET = server.NOT_DONE_YET


class Waits(Resource):
    """Keeps its requests; whoever has one answers it."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def render_GET(self, request: Any) -> Any:
        self.requests.append(request)
        return NOT_DONE_YET

    render_POST = render_GET


def outcome_of(deferred: Deferred[Any]) -> list[Any]:
    outcomes: list[Any] = []
    deferred.addBoth(outcomes.append)
    return outcomes


def begun(rig: Rig, waits: Waits) -> tuple[Peer, Any]:
    """A client, and its request that waits for an answer."""
    peer = rig.connect()
    peer.send(GET)
    return peer, waits.requests[-1]


# -- notifyFinish ------------------------------------------------------------------------------


def test_notify_finish_before_the_end() -> None:
    with Rig(waits := Waits()) as rig:
        _, request = begun(rig, waits)
        first, second = outcome_of(request.notifyFinish()), outcome_of(request.notifyFinish())
        request.write(b"some")
        assert not first
        request.finish()
        assert first == second == [None]


def test_notify_finish_after_the_end_fires_at_once() -> None:
    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        request.finish()
        assert outcome_of(request.notifyFinish()) == [None]
        peer.reset()
        assert outcome_of(request.notifyFinish()) == [None]


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.reset])
@pytest.mark.parametrize("written", [False, True])
def test_notify_finish_when_the_client_leaves(leave: Any, written: bool) -> None:
    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        if written:
            request.write(b"some")
        early = [outcome_of(request.notifyFinish()) for _ in range(2)]
        leave(peer)
        late = outcome_of(request.notifyFinish())
        for outcome in (*early, late):
            assert len(outcome) == 1
            assert outcome[0].check(ConnectionDone, ConnectionLost)
        assert peer.closed


def test_notify_finish_when_the_server_gives_up() -> None:
    with Rig(waits := Waits(), limits=Limits(handling_seconds=5)) as rig:
        peer, request = begun(rig, waits)
        outcome = outcome_of(request.notifyFinish())
        rig.advance(6)
        (failure,) = outcome
        assert failure.check(LimitFault, Fault)
        (response,) = peer.responses()
        assert (response.status, response.reason) == (503, "handling-seconds")
        request.write(b"too late")
        request.finish()
        assert rig.site.statistics.ignored_writes == 2


def test_one_who_fails_when_told_does_not_keep_it_from_others() -> None:
    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)

        def fail_when_told(_: object) -> None:
            raise LookupError("of whoever was told")

        seen = request.notifyFinish().addErrback(fail_when_told)
        other = outcome_of(request.notifyFinish())
        peer.reset()
        assert len(other) == 1
        seen.addErrback(lambda failure: failure.trap(LookupError))


def test_the_next_request_is_served_before_the_end_is_told() -> None:
    """Whoever is told may use the connection's state: it is that after the end."""
    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        states: list[str] = []
        request.notifyFinish().addCallback(lambda _: states.append(peer.protocol.phase.name))
        request.finish()
        assert states == ["IDLE"]


# -- writing at any moment (V08) ---------------------------------------------------------------


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.reset])
@pytest.mark.parametrize("moment", ["before the head", "after the head", "after the end"])
def test_v08_writes_to_a_dying_connection_do_nothing_and_are_counted(leave: Any, moment: str) -> None:
    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        if moment != "before the head":
            request.write(b"some")
        if moment == "after the end":
            request.finish()
        leave(peer)
        received = peer.received
        before = rig.site.statistics.ignored_writes
        for _ in range(3):
            request.write(b"more")
        request.finish()
        request.finish()
        assert rig.site.statistics.ignored_writes - before == 5
        assert peer.received == received


def test_v08_whatever_else_is_asked_of_a_request_that_has_ended() -> None:
    stopped: list[Any] = []

    class Producer:
        def stopProducing(self) -> None:
            stopped.append(self)

    with Rig(waits := Waits()) as rig:
        for finished in (False, True):
            peer, request = begun(rig, waits)
            request.notifyFinish().addErrback(lambda _: None)
            if finished:
                request.finish()
            else:
                peer.reset()
            request.registerProducer(Producer(), True)
            request.unregisterProducer()
            request.setHeader(b"x-a", b"b")
            request.setResponseCode(404)
            request.addCookie("a", "b")
            request.loseConnection()
            assert request.getClientAddress().host == "127.0.0.1"
            request.getHost()  # None where the socket has gone
            assert not request.isSecure()
            assert request.transport is None
            assert request.args == {}
        assert len(stopped) == 2


def test_v08_the_producer_of_a_client_that_leaves_is_stopped_once() -> None:
    calls: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            calls.append("pause")

        def resumeProducing(self) -> None:
            calls.append("resume")

        def stopProducing(self) -> None:
            calls.append("stop")

    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        request.registerProducer(Producer(), True)
        peer.reset()
        assert calls == ["stop"]


def test_a_push_producer_is_paused_and_resumed() -> None:
    calls: list[str] = []

    class Producer:
        def __getattr__(self, name: str) -> Any:
            return lambda: calls.append(name)

    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        peer.take(0)
        request.registerProducer(Producer(), True)
        request.write(b"x" * 200_000)
        assert calls == ["pauseProducing"]
        peer.take(None)
        assert calls == ["pauseProducing", "resumeProducing"]
        request.unregisterProducer()
        request.finish()
        assert peer.responses()[0].body == b"x" * 200_000


def test_a_pull_producer_gives_as_the_client_takes() -> None:
    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)

        class Producer:
            left = 20

            def resumeProducing(self) -> None:
                self.left -= 1
                request.write(b"y" * 10_000)
                if not self.left:
                    request.unregisterProducer()
                    request.finish()

            def stopProducing(self) -> None:
                raise AssertionError

        producer = Producer()
        peer.take(1000)
        request.registerProducer(producer, False)
        rig.clock.turn()
        waiting = producer.left
        assert waiting > 5  # it waits for the client
        rig.clock.turn()
        assert producer.left == waiting
        peer.take(None)
        assert peer.responses()[0].body == b"y" * 200_000


def test_a_producer_left_registered_does_not_outlive_the_response() -> None:
    class Producer:
        def __getattr__(self, name: str) -> Any:
            return lambda: None

    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        request.registerProducer(Producer(), True)
        request.finish()
        peer.send(GET)
        waits.requests[-1].registerProducer(Producer(), True)
        waits.requests[-1].unregisterProducer()
        waits.requests[-1].finish()
        assert [response.status for response in peer.responses()] == [200, 200]


# -- what a handler returns --------------------------------------------------------------------


async def coroutine(request: Any) -> str:
    await deferLater(request.site.server.clock, 1)
    return "awaited"


@pytest.mark.parametrize(
    ("answer", "status", "kind", "body"),
    [
        (lambda request: b"bytes", 200, b"text/html", b"bytes"),
        (lambda request: bytearray(b"array"), 200, b"text/html", b"array"),
        (lambda request: memoryview(b"view"), 200, b"text/html", b"view"),
        (lambda request: "t\u00e9xt", 200, b"text/html; charset=utf-8", "t\u00e9xt".encode()),
        (lambda request: succeed(b"deferred"), 200, b"text/html", b"deferred"),
        (lambda request: succeed("deferred text"), 200, b"text/html; charset=utf-8", b"deferred text"),
        (coroutine, 200, b"text/html; charset=utf-8", b"awaited"),
        (lambda request: request.setResponseCode(204), 204, None, b""),
        (lambda request: b"", 200, None, b""),
    ],
)
def test_what_a_handler_may_return(answer: Any, status: int, kind: bytes | None, body: bytes) -> None:
    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.advance(1)
        (response,) = peer.responses()
        assert (response.status, response.get(b"content-type"), response.body) == (status, kind, body)
        assert response.complete


@pytest.mark.parametrize("answer", [None, 7, ["list"], object()])
def test_what_a_handler_may_not_return(answer: Any) -> None:
    with Rig(Says(lambda request: answer)) as rig:
        (response,) = rig.exchange(GET)
        assert response.status == 500
        (failure,) = rig.flush()
        assert failure.check(TypeError)


@pytest.mark.parametrize("late", [False, True])
def test_a_coroutine_that_wrote_for_itself(late: bool) -> None:
    async def render(request: Any) -> None:
        request.write(b"some")
        if late:
            await deferLater(request.site.server.clock, 1)
        request.write(b" more")

    with Rig(Says(render)) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.advance(1)
        assert peer.responses()[0].body == b"some more"


def test_a_handler_that_finished_before_it_returned() -> None:
    async def render(request: Any) -> bytes:
        request.write(b"all")
        request.finish()
        return b"and more"

    with Rig(Says(render)) as rig:
        assert rig.exchange(GET)[0].body == b"all"


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.reset])
def test_a_handler_whose_client_leaves_is_cancelled(leave: Any) -> None:
    seen: list[str] = []

    async def render(request: Any) -> bytes:
        try:
            await Deferred()
        except CancelledError:
            seen.append("cancelled")
            raise
        return b""

    with Rig(Says(render)) as rig:
        peer = rig.connect()
        peer.send(GET)
        leave(peer)
        assert seen == ["cancelled"]
        assert peer.closed


def test_a_canceller_that_fails_costs_nothing_else() -> None:
    def canceller(_: object) -> None:
        raise LookupError("in a canceller")

    with Rig(Says(lambda request: Deferred(canceller))) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.reset()
        assert peer.closed
        assert rig.site.connection_count == 0
        assert [failure.type for failure in rig.flush()] == [LookupError]


def test_a_deferred_cancelled_by_someone_else_is_an_error() -> None:
    with Rig(Says(lambda request: later)) as rig:
        later: Deferred[bytes] = Deferred()
        peer = rig.connect()
        peer.send(GET)
        later.cancel()
        assert peer.responses()[0].status == 500
        assert rig.flush()[0].check(CancelledError)


def test_e05_an_answer_later_to_the_very_first_request() -> None:
    with Rig(waits := Waits()) as rig:
        peer, request = begun(rig, waits)
        rig.advance(30)
        request.write(b"late")
        request.finish()
        assert peer.responses()[0].body == b"late"


def test_e05_an_answer_that_never_comes() -> None:
    """Its deadline ends it, or its client's departure."""
    with Rig(waits := Waits()) as rig:
        waits.handling_seconds = 10  # type: ignore[attr-defined]
        peer, request = begun(rig, waits)
        outcome = outcome_of(request.notifyFinish())
        rig.advance(9)
        assert peer.received == b""
        rig.advance(2)
        assert peer.responses()[0].status == 503
        assert len(outcome) == 1
        peer.half_close()
        assert peer.closed
        other, other_request = begun(rig, waits)
        outcome = outcome_of(other_request.notifyFinish())
        other.reset()
        assert len(outcome) == 1
        assert rig.site.connection_count == 0


def test_an_answer_that_has_begun_meets_its_deadline() -> None:
    with Rig(waits := Waits(), limits=Limits(handling_seconds=5)) as rig:
        peer, request = begun(rig, waits)
        request.write(b"begun")
        rig.advance(60)
        request.finish()
        assert peer.responses()[0].body == b"begun"


def test_a_resources_own_deadline_goes_before_the_sites() -> None:
    with Rig(waits := Waits(), limits=Limits(handling_seconds=5)) as rig:
        waits.handling_seconds = 50  # type: ignore[attr-defined]
        peer, request = begun(rig, waits)
        rig.advance(40)
        request.finish()
        assert peer.responses()[0].status == 200


# -- failures ----------------------------------------------------------------------------------


def broken(request: Any) -> Any:
    raise LookupError("a secret <of> the application")


def broken_later(request: Any) -> Any:
    return fail(LookupError("a secret <of> the application"))


def leaving(request: Any) -> Any:
    sys.exit("a secret <of> the application")


def leaving_later(request: Any) -> Any:
    return succeed(None).addCallback(leaving)


def cancelled(request: Any) -> Any:
    raise asyncio.CancelledError("a secret <of> the application")


@pytest.mark.parametrize("answer", [broken, broken_later, leaving, leaving_later, cancelled])
def test_a_failed_handler_is_a_500_with_an_id_that_is_in_the_log(answer: Any) -> None:
    said: list[str] = []
    lines: list[str] = []

    def see(event: dict[str, Any]) -> None:
        if "id" in event:
            said.append(event["id"])
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(see)
    try:
        with Rig(Says(answer)) as rig:
            peer = rig.connect()
            peer.send(GET)
            (response,) = peer.responses()
            found = re.search(rb"<code>([0-9a-f]{16})</code>", response.body)
            assert response.status == 500
            assert found is not None
            assert said == [found[1].decode()]
            assert lines == [f"request {said[0]} failed: GET /"]
            assert b"secret" not in response.body
            assert b"Traceback" not in response.body
            assert rig.site.statistics.errors == 1
            assert len(rig.flush()) == 1
            peer.send(GET)  # one bad thing stays one bad thing
            assert len(peer.responses()) == 2
            rig.flush()
    finally:
        globalLogPublisher.removeObserver(see)


def test_a_traceback_is_shown_when_asked_for() -> None:
    with Rig(Says(broken)) as rig:
        rig.site.displayTracebacks = True
        (response,) = rig.exchange(GET)
        assert b"a secret &lt;of&gt; the application" in response.body
        rig.flush()


def test_a_failure_drops_what_the_handler_had_set() -> None:
    def answer(request: Any) -> Any:
        request.setHeader(b"Content-Type", b"image/png")
        request.setHeader(b"Content-Length", b"99")
        request.setETag(b'"tag"')
        request.addCookie("a", "b")
        raise LookupError

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
        assert response.status == 500
        assert response.complete
        assert response.get(b"content-type") == b"text/html; charset=utf-8"
        assert response.get(b"etag") is None
        assert response.get(b"set-cookie") is None
        rig.flush()


@pytest.mark.parametrize("length", [None, b"1000"])
def test_a_failure_after_the_response_has_begun_is_no_whole_response(length: bytes | None) -> None:
    def answer(request: Any) -> Any:
        if length is not None:
            request.setHeader(b"Content-Length", length)
        request.write(b"half of it")
        raise LookupError

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET)
        (response,) = peer.responses()
        assert (response.status, response.complete) == (200, False)
        assert peer.aborted
        assert rig.flush()


def test_a_fault_raised_by_an_application_is_its_answer() -> None:
    def answer(request: Any) -> Any:
        raise LimitFault(413, Reason.BODY_BYTES, "too much for this resource")

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET)
        (response,) = peer.responses()
        assert (response.status, response.reason) == (413, "body-bytes")
        assert b"too much for this resource" in response.body
        peer.half_close()


# -- lengths -----------------------------------------------------------------------------------


def test_less_than_content_length_is_no_whole_response() -> None:
    def answer(request: Any) -> Any:
        request.setHeader(b"Content-Length", b"10")
        request.write(b"four")
        request.finish()
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET)
        (response,) = peer.responses()
        assert (response.body, response.complete) == (b"four", False)
        assert peer.protocol.reason is Reason.SHORT_RESPONSE


def test_what_is_beyond_content_length_is_not_sent() -> None:
    """It would be taken for the next response."""

    def answer(request: Any) -> Any:
        request.setHeader(b"Content-Length", b"4")
        request.write(b"fo")
        request.write(b"ur and more")
        request.write(b" and more")
        request.finish()
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        responses = rig.exchange(GET + GET)
        assert [response.body for response in responses] == [b"four", b"four"]


@pytest.mark.parametrize("values", [[b"+4"], [b"4, 4"], [b"-1"], [b"x"], [b""], [b"4", b"4"], [b"4", b"5"]])
def test_a_content_length_that_is_none_frames_nothing(values: list[bytes]) -> None:
    def answer(request: Any) -> Any:
        request.responseHeaders.setRawHeaders(b"Content-Length", values)
        request.write(b"four")
        request.finish()
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
        assert (response.body, response.get(b"content-length")) == (b"four", None)


# -- HEAD --------------------------------------------------------------------------------------


def pieces(request: Any) -> Any:
    request.write(b"in ")
    request.write(b"pieces")
    request.finish()
    return NOT_DONE_YET


@pytest.mark.parametrize(
    ("answer", "length"),
    [
        (lambda request: b"whole", b"5"),
        (lambda request: "t\u00e9xt", b"5"),
        (lambda request: succeed(b"later"), b"5"),
        (pieces, None),
        (lambda request: b"", None),
    ],
)
def test_head_is_get_without_the_body(answer: Any, length: bytes | None) -> None:
    with Rig(Says(answer)) as rig:
        head, get = rig.exchange(say(b"HEAD"), GET, methods=[b"HEAD", b"GET"])
        assert (head.status, head.body) == (200, b"")
        assert head.get(b"content-length") == length
        # RFC 9110, 8.6: what it says is what GET says.
        assert head.get(b"content-length") in (None, get.get(b"content-length"))


def test_head_where_only_get_is_known() -> None:
    """A resource that is not of ``twisted.web``'s kind, and says so by ``UnsupportedMethod``."""
    methods: list[bytes] = []

    class Leaf:
        isLeaf = True

        def render(self, request: Any) -> bytes:
            methods.append(request.method)
            if request.method != b"GET":
                raise UnsupportedMethod([b"GET"])
            return b"known"

    with Rig(Leaf()) as rig:  # type: ignore[arg-type]
        head, post = rig.exchange(say(b"HEAD"), say(b"POST", body=b"x"), methods=[b"HEAD", b"POST"])
        assert (head.status, head.get(b"content-length")) == (200, b"5")
        assert (post.status, post.get(b"allow")) == (405, b"GET")
        assert methods == [b"HEAD", b"GET", b"POST"]


class GetAlone:
    """A resource not of ``twisted.web``'s kind; its GET writes at once."""

    isLeaf = True

    def render(self, request: Any) -> Any:
        if request.method != b"GET":
            raise UnsupportedMethod([b"GET"])
        return pieces(request)

    def getChildWithDefault(self, path: bytes, request: Any) -> Any:
        return self

    def putChild(self, path: bytes, child: Any) -> None:
        raise NotImplementedError


class RenderGet(GetAlone):
    def render_GET(self, request: Any) -> Any:
        return pieces(request)


def mounted(resource: Any) -> Any:
    router = Router()
    directlyProvides(resource, IResource)
    router.mount("/", resource)
    return router


@pytest.mark.parametrize("place", [lambda resource: resource, mounted])
def test_head_of_what_writes_at_once_has_no_body(place: Any) -> None:
    with Rig(place(RenderGet())) as rig:
        head, get = rig.exchange(say(b"HEAD"), GET, methods=[b"HEAD", b"GET"])
        assert (head.status, head.body, get.body) == (200, b"", b"in pieces")


@pytest.mark.parametrize("place", [lambda resource: resource, mounted])
def test_head_of_what_must_be_told_get_leaves_nothing_behind_it(place: Any) -> None:
    with Rig(place(GetAlone())) as rig:
        peer = rig.connect()
        peer.send(say(b"HEAD"), GET)
        assert peer.ended
        assert peer.received.count(b"HTTP/1.1 200") == 1


# -- headers and cookies -----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0"])
@pytest.mark.parametrize("where", ["known", "unknown", "headers", "cookie", "phrase", "etag", "name", "text"])
def test_nothing_is_injected_into_a_head(end: str, where: str) -> None:
    evil = f"a{end}X-Injected: yes".encode()

    def answer(request: Any) -> bytes:
        if where == "known":
            request.setHeader(b"Cache-Control", evil)
        elif where == "unknown":
            request.setHeader(b"X-Own", evil)
        elif where == "text":
            request.setHeader("X-Own", evil.decode())
        elif where == "headers":
            request.responseHeaders.addRawHeader(b"X-Own", evil)
        elif where == "cookie":
            request.addCookie(b"a", evil)
        elif where == "phrase":
            request.setResponseCode(200, evil)
        elif where == "etag":
            request.setETag(evil)
        else:
            request.setHeader(evil, b"value")
        return b"body"

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET)
        responses = peer.responses()
        assert [response.get(b"x-injected") for response in responses] == [None]
        assert b"\nX-Injected" not in peer.received
        assert b"\rX-Injected" not in peer.received
        assert b"\0" not in peer.received
        rig.flush()


def test_headers_an_application_sets() -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"content-type", b"text/plain")
        request.setHeader("x-text", "t\u00e9xt")
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"cache-control", b"private")
        request.responseHeaders.addRawHeader(b"X-Many", b"1")
        request.responseHeaders.addRawHeader(b"X-Many", b"2")
        request.setHeader(b"Transfer-Encoding", b"gzip")  # framing is the server's
        assert request.responseHeaders.getRawHeaders(b"cache-control") == [b"private"]
        return b"body"

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
        assert response.get(b"content-type") == b"text/plain"
        assert response.get(b"x-text") == "t\u00e9xt".encode()
        assert response.get(b"cache-control") == b"private"
        assert response.get(b"x-many") == b"1, 2"
        assert response.get(b"transfer-encoding") is None
        assert response.get(b"server") == b"hardhttp"
        assert response.get(b"date") == b"Tue, 14 Nov 2023 22:13:20 GMT"


def test_cookies() -> None:
    def answer(request: Any) -> bytes:
        request.addCookie(b"a", b"1", path=b"/", httpOnly=True, sameSite="lax")
        request.addCookie("b", "2", max_age="10", secure=True)
        return b"%s %s" % (request.getCookie(b"in"), request.received_cookies.get(b"other"))

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(say(Cookie=b"in=x; other=y=z; broken"))
        assert response.body == b"x y=z"
        cookies = [value for name, value in response.headers if name == b"set-cookie"]
        assert cookies == [b"a=1; Path=/; HttpOnly; SameSite=lax", b"b=2; Max-Age=10; Secure"]


def test_conditional_requests() -> None:
    def answer(request: Any) -> bytes:
        if request.setLastModified(1_600_000_000) is http.CACHED or request.setETag(b'"one"') is http.CACHED:
            return b""
        return b"body"

    with Rig(Says(answer)) as rig:
        fresh, tagged, dated, stale = rig.exchange(
            GET,
            say(If_None_Match=b'"zero", "one"'),
            say(If_Modified_Since=b"Sun, 13 Sep 2020 12:26:40 GMT"),
            say(If_None_Match=b'"two"'),
        )
        assert (fresh.status, fresh.get(b"etag"), fresh.body) == (200, b'"one"', b"body")
        assert fresh.get(b"last-modified") == b"Sun, 13 Sep 2020 12:26:40 GMT"
        assert (tagged.status, tagged.get(b"etag"), tagged.body) == (304, b'"one"', b"")
        assert (dated.status, dated.get(b"content-length"), dated.body) == (304, None, b"")
        assert stale.status == 200


def test_what_a_request_shows() -> None:
    seen: dict[str, Any] = {}

    def answer(request: Any) -> bytes:
        seen.update(
            uri=request.uri,
            path=request.path,
            method=request.method,
            version=request.clientproto,
            host=request.getRequestHostname(),
            header=request.getHeader("x-one"),
            raw=request.getHeader(b"X-ONE"),
            many=request.requestHeaders.getRawHeaders(b"x-many"),
            missing=request.getHeader(b"x-none"),
            user=(request.getUser(), request.getPassword()),
            ip=request.getClientAddress().host,
            all=request.getAllHeaders()[b"x-one"],
        )
        return repr(request).encode()

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(
            b"GET /a%20b?c=d HTTP/1.1\r\nHost: example.com:80\r\nX-One: 1\r\nX-Many: a\r\nX-many: b\r\n"
            b"Authorization: Basic YW5uYTpzZWNyZXQ=\r\n\r\n"
        )
        assert b"/a%20b?c=d" in response.body
    assert seen == {
        "uri": b"/a%20b?c=d",
        "path": b"/a%20b",
        "method": b"GET",
        "version": b"HTTP/1.1",
        "host": b"example.com",
        "header": "1",
        "raw": b"1",
        "many": [b"a", b"b"],
        "missing": None,
        "user": (b"anna", b"secret"),
        "ip": "127.0.0.1",
        "all": b"1",
    }


@pytest.mark.parametrize("limits", [Limits(), attrs.evolve(Limits(), idle_seconds=1)])
def test_http_1_0_ends_a_body_of_unknown_length_with_the_connection(limits: Limits) -> None:
    with Rig(Says(pieces), limits=limits) as rig:
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert peer.ended
        (response,) = peer.responses()
        assert (response.body, response.get(b"transfer-encoding")) == (b"in pieces", None)
        assert response.get(b"connection") == b"close"


def test_connection_close_of_the_application_is_meant() -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"Connection", b"close")
        return b"last"

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET + GET)
        assert len(peer.responses()) == 1
        assert peer.ended


def test_write_takes_bytes_alone() -> None:
    with Rig(waits := Waits()) as rig:
        _, request = begun(rig, waits)
        with pytest.raises(TypeError):
            request.write("text")
        request.finish()


def test_an_application_that_closes_the_connection_does_not_take_back_what_was_answered() -> None:
    def answer(request: Any) -> Any:
        if request.path == b"/close":
            request.loseConnection()
            return NOT_DONE_YET
        return b"answered"

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET + GET + say(target=b"/close") + GET)
        assert [response.body for response in peer.responses()] == [b"answered"] * 2
        assert peer.closed


def test_a_request_keeps_its_attributes_beside_itself() -> None:
    """CPython 3.11 does so for thirty; one more, and each request costs a dict and a twentieth of its time."""
    seen: list[int] = []

    def look(request: Any, number: int) -> dict[str, int]:
        seen.append(len(vars(request)))
        return {"id": number}

    router = Router()
    router.get("/users/{number:int}")(look)
    with Rig(router) as rig:
        rig.exchange(b"GET /users/7 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert seen[0] <= 28  # what is set after this, sentLength and a session, fits too
