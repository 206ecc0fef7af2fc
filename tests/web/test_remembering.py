"""Sessions in a store that answers later: loaded before the resource, saved before the response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp.interfaces import IStreamingResource
from hardhttp.limits import Limits
from hardhttp.testing import Rig
from hardhttp.web.sessions import STORE_SECONDS, Sessions
from tests.web.remembered import Client, SlowStore, cookie_of
from tests.web.saying import Says


def count(request: Any) -> bytes:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return b"%d" % request.session["visits"]


def look(request: Any) -> bytes:
    return repr((request.session.has_id, dict(request.session))).encode()


def empty(request: Any) -> Any:
    count(request)
    request.finish()
    return NOT_DONE_YET


class SlowRig(Rig):
    """A site whose store is slow, and a client that has a session."""

    def __init__(self, handle: Callable[[Any], Any], **options: Any) -> None:
        self.store = SlowStore()
        super().__init__(Says(self._handle), sessions=Sessions(self.store), **options)
        self._steps = handle
        self.called = 0

    def _handle(self, request: Any) -> Any:
        self.called += 1
        return count(request) if request.path == b"/count" else self._steps(request)

    def client(self) -> Client:
        client = Client(self)
        peer = client.begin(b"/count")
        self.store.answer()
        client.cookie = cookie_of(peer.responses()[0])
        self.store.asked.clear()
        self.called = 0
        return client

    def end(self) -> None:
        self.store.away = False
        self.store.answer()
        super().end()
        self.store.answer()


def test_the_response_waits_until_it_is_saved() -> None:
    with SlowRig(look) as rig:
        client = Client(rig)
        peer = client.begin(b"/count")
        assert (rig.store.asked, peer.received) == (["save"], b"")  # nothing to load: it sent no cookie
        rig.store.answer()
        (response,) = peer.responses()
        assert response.body == b"1"
        assert cookie_of(response)


def test_it_is_loaded_before_the_resource_is_rendered() -> None:
    with SlowRig(look) as rig:
        client = rig.client()
        peer = client.begin()
        assert (rig.store.asked, rig.called) == (["load"], 0)
        rig.store.answer()
        assert peer.responses()[0].body == b"(True, {'visits': 1})"
        assert rig.store.asked == ["load"]  # nothing to save


def test_without_a_cookie_nothing_is_asked() -> None:
    with SlowRig(look) as rig:
        for cookie in (b"", b"session=short", b"other=" + b"A" * 43):
            assert Client(rig, cookie).ask().body == b"(False, {})"
        assert rig.store.asked == []


def test_one_that_is_loaded_and_not_looked_at_changes_nothing() -> None:
    with SlowRig(lambda request: b"still") as rig:
        client = rig.client()
        rig.advance(600)
        rig.store.answer()
        rig.store.asked.clear()
        peer = client.begin()
        rig.store.answer()
        assert peer.responses()[0].get(b"vary") is None
        assert rig.store.asked == ["load"]


def test_an_unknown_id_makes_a_new_one() -> None:
    with SlowRig(look) as rig:
        peer = Client(rig, b"session=" + b"A" * 43).begin(b"/count")
        rig.store.answer()
        assert cookie_of(peer.responses()[0]) not in (b"", b"session=" + b"A" * 43)


def test_a_store_that_is_away_costs_those_who_look() -> None:
    with SlowRig(look) as rig:
        client = rig.client()
        rig.store.away = True
        peer = client.begin()
        rig.store.answer()
        (response,) = peer.responses()
        assert (response.status, response.get(b"retry-after")) == (503, b"5")
        rig._steps = lambda request: b"still"
        peer = client.begin()
        rig.store.answer()
        assert peer.responses()[0].body == b"still"
        assert rig.site.cookie_sessions.failures == 2


def test_what_cannot_be_saved_is_not_said_to_be() -> None:
    with SlowRig(empty) as rig:
        client = rig.client()
        rig.store.away = True
        for target in (b"/count", b"/"):
            peer = Client(rig).begin(target)
            rig.store.answer()
            (response,) = peer.responses()
            assert (response.status, response.get(b"retry-after")) == (503, b"5")
            assert response.get(b"set-cookie") is None
        rig.store.away = False
        peer = client.begin(b"/count")
        rig.store.answer()
        assert peer.responses()[0].body == b"2"


def test_a_store_that_does_not_answer_is_given_up() -> None:
    with SlowRig(look) as rig:
        client = rig.client()
        peers = [client.begin(), Client(rig).begin(b"/count")]
        rig.advance(STORE_SECONDS - 1)
        assert [peer.received for peer in peers] == [b"", b""]
        rig.advance(1)
        assert [peer.responses()[0].status for peer in peers] == [503, 503]


def test_a_client_that_leaves_while_its_session_is_loaded() -> None:
    with SlowRig(look) as rig:
        client = rig.client()
        client.begin().reset()
        rig.store.answer()
        assert rig.called == 0
        assert len(rig.clock.getDelayedCalls()) == 1  # the reaper's: nothing waits for the store


def test_a_client_that_leaves_while_its_session_is_saved() -> None:
    with SlowRig(look) as rig:
        client = rig.client()
        peer = client.begin(b"/count")
        while rig.store.asked != ["load", "save"]:
            later, call, arguments = rig.store._waiting.pop(0)
            call(*arguments).chainDeferred(later)
        peer.reset()
        rig.store.answer()
        peer = client.begin(b"/count")
        rig.store.answer()
        assert peer.responses()[0].body == b"3"  # the handler was done


def test_a_stream_ends_when_it_is_saved() -> None:
    requests: list[Any] = []

    def streams(request: Any) -> Any:
        request.session["a"] = 1
        request.write(b"one")
        request.session["b"] = 2
        request.finish()
        requests.append(request)
        return NOT_DONE_YET

    with SlowRig(streams) as rig:
        peer = Client(rig).begin()
        assert b"Set-Cookie: session=" in peer.received
        assert not peer.received.endswith(b"0\r\n\r\n")
        rig.store.answer()
        assert peer.responses()[0].body == b"one"
        assert rig.store.asked == ["save", "save"]


def test_a_stream_that_cannot_be_saved_is_cut() -> None:
    def streams(request: Any) -> Any:
        request.session["a"] = 1
        request.write(b"one")
        request.finish()
        return NOT_DONE_YET

    with SlowRig(streams) as rig:
        peer = Client(rig).begin()
        rig.store.away = True
        rig.store.answer()
        assert peer.aborted
        assert not peer.received.endswith(b"0\r\n\r\n")
        assert len(rig.flush()) == 1


def test_one_that_failed_before_the_end_of_a_stream_cuts_it() -> None:
    requests: list[Any] = []

    def streams(request: Any) -> Any:
        request.session["a"] = 1
        request.write(b"one")
        requests.append(request)
        return NOT_DONE_YET

    with SlowRig(streams) as rig:
        peer = Client(rig).begin()
        rig.store.away = True
        rig.store.answer()
        assert not peer.closed
        requests[0].finish()
        assert peer.aborted
        rig.flush()


def test_rotate_then_abandon_in_order() -> None:
    def login(request: Any) -> bytes:
        request.session.rotate()
        return count(request)

    with SlowRig(login) as rig:
        client = rig.client()
        old = client.cookie
        peer = client.begin()
        rig.store.answer()
        client.cookie = cookie_of(peer.responses()[0])
        assert rig.store.asked == ["load", "rename", "save"]
        peer = Client(rig, old).begin(b"/count")
        rig.store.answer()
        assert peer.responses()[0].body == b"1"
        rig._steps = lambda request: request.session.abandon() or b"bye"
        rig.store.asked.clear()
        peer = client.begin()
        rig.store.answer()
        assert b"Max-Age=0" in peer.responses()[0].get(b"set-cookie")
        assert rig.store.asked == ["load", "delete"]


def test_saving_when_told() -> None:
    saved: list[Any] = []

    def saves(request: Any) -> Any:
        request.session["a"] = 1
        return request.session.save().addBoth(lambda result: saved.append(result) or b"done")

    with SlowRig(saves) as rig:
        peer = Client(rig).begin()
        assert saved == []
        rig.store.answer()
        assert saved == [None]
        assert cookie_of(peer.responses()[0])
        assert rig.store.asked == ["save"]


def test_a_streaming_resource_has_its_session_too() -> None:
    @implementer(IStreamingResource)
    class Takes(Resource):
        isLeaf = True

        def render_POST(self, request: Any) -> Any:
            visits = request.session.get("visits", 0)

            class Taker(Protocol):
                taken = b""

                def dataReceived(self, data: bytes) -> None:
                    self.taken += data

                def connectionLost(self, reason: Any = None) -> None:
                    request.session["visits"] = visits + 1
                    request.write(b"%d " % visits + self.taken)
                    request.finish()

            request.deliverBody(Taker())
            return NOT_DONE_YET

    with SlowRig(look) as rig:
        client = rig.client()
        rig.site.resource = Takes()
        peer = client.begin(b"/", b"POST", b"a body", Expect=b"100-continue")
        assert peer.received == b""
        rig.store.answer()
        assert b"1 a body" in peer.received
        left = client.begin(b"/", b"POST", b"a body")
        left.reset()
        rig.store.answer()
        rig.flush()


def test_the_sweep_waits_for_the_last_one() -> None:
    with SlowRig(look, limits=Limits(cleanup_seconds=1)) as rig:
        rig.site.startFactory()
        rig.advance(3)
        assert rig.store.asked == ["sweep"]
        rig.store.answer()
        rig.advance(2)
        assert rig.store.asked == ["sweep", "sweep"]
        rig.store.answer()
        rig.site.stopFactory()


def test_a_store_that_raises_is_one_that_is_away() -> None:
    class Raises(SlowStore):
        def load(self, *arguments: Any) -> Deferred[Any]:
            raise RuntimeError("a bug")

    store = Raises()
    with Rig(Says(look), sessions=Sessions(store)) as rig:
        assert Client(rig, b"session=" + b"A" * 43).ask().status == 503
        rig.site.cookie_sessions.sweep(0).addErrback(lambda failure: failure.trap(CancelledError))
        store.answer()
