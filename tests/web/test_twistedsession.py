"""``request.getSession()``: ``twisted.web``'s sessions, bounded, lazy and without timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.python.components import registerAdapter
from twisted.web import server
from zope.interface import Attribute, Interface, implementer

from hardhttp.limits import Limits
from hardhttp.testing import Rig
from hardhttp.web.sessions import Sessions
from hardhttp.web.site import Site
from tests.web.remembered import Client, SlowStore, cookie_of
from tests.web.saying import Says, say

IDLE = Limits().session_idle_seconds


class ICart(Interface):
    items = Attribute("what is in it")


@implementer(ICart)
class Cart:
    def __init__(self, session: Any) -> None:
        self.items: list[str] = []


registerAdapter(Cart, server.Session, ICart)


class INothing(Interface):
    """Nobody adapts to it."""


def count(request: Any) -> bytes:
    session = request.getSession()
    session.visits = getattr(session, "visits", 0) + 1
    return b"%d" % session.visits


def by_path(**handlers: Callable[[Any], Any]) -> Says:
    return Says(lambda request: handlers[request.path[1:].decode() or "root"](request))


def test_v16_looking_makes_nothing() -> None:
    """There, and in twisted.web: 20,000 looks, 20,000 sessions and timers."""

    def look(request: Any) -> bytes:
        session = request.getSession()
        assert isinstance(session, server.Session)
        assert session is request.getSession()
        session.touch()
        assert session.getComponent(INothing) is None
        assert (session.sessionTimeout, session.lastModified) == (IDLE, request.site.reactor.seconds())
        assert getattr(session, "visits", None) is None
        return b"looked"

    with Rig(Says(look)) as rig:
        assert Client(rig).ask().get(b"set-cookie") is None
        peer = rig.connect()
        peer.send(say() * 500)
        assert len(peer.responses()) == 500
        assert rig.site.sessions == {}
        assert len(rig.clock.getDelayedCalls()) == 1  # the reaper's


def adapts(session: Any) -> None:
    ICart(session).items.append("x")


@pytest.mark.parametrize(
    "use",
    [
        lambda session: setattr(session, "visits", 1),
        lambda session: session.uid,
        lambda session: session.setComponent(ICart, object()),
        lambda session: session.addComponent(Cart(session)),
        lambda session: session.getComponent(ICart),
        adapts,
        lambda session: session.notifyOnExpire(lambda: None),
        lambda session: session.sessionNamespaces,
    ],
    ids=["attribute", "uid", "setComponent", "addComponent", "getComponent", "adapter", "notifyOnExpire", "namespaces"],
)
def test_using_makes_it_one_of_the_sites(use: Callable[[Any], Any]) -> None:
    kept: list[Any] = []
    with Rig(Says(lambda request: (use(request.getSession()), kept.append(request.getSession()), b"")[2])) as rig:
        client = Client(rig)
        client.ask()
        uid = client.cookie.partition(b"=")[2]
        assert rig.site.sessions == {uid: kept[0]}
        assert rig.site.getSession(uid) is kept[0]
        assert (kept[0].uid, kept[0].site) == (uid, rig.site)
        client.ask()
        assert kept[1] is kept[0]
        assert not rig.site.cookie_sessions.has_store  # no store sees them


def test_a_component_by_its_interface() -> None:
    def add(request: Any) -> bytes:
        cart = request.getSession(ICart)
        cart.items.append("x")
        return b"%d" % len(cart.items)

    with Rig(Says(add)) as rig:
        client = Client(rig)
        assert [client.ask().body for _ in range(3)] == [b"1", b"2", b"3"]


def test_it_shares_its_id_with_the_mapping() -> None:
    def mapped(request: Any) -> bytes:
        request.session["n"] = request.session.get("n", 0) + 1
        return b"%d" % request.session["n"]

    with Rig(by_path(count=count, mapped=mapped)) as rig:
        for first, second in ((b"/count", b"/mapped"), (b"/mapped", b"/count")):
            client = Client(rig)
            client.ask(first)
            cookie = client.cookie
            assert [client.ask(target).body for target in (second, second, first)] == [b"1", b"2", b"2"]
            assert client.cookie == cookie
        assert rig.site.ledger.snapshot()["session_objects"] == rig.site.ledger.snapshot()["sessions"] == 2


def test_expire_ends_both() -> None:
    def logout(request: Any) -> bytes:
        request.getSession().expire()
        assert request.getSession().uid not in (b"",)
        return b"bye"

    def both(request: Any) -> bytes:
        request.session["n"] = 1
        return count(request)

    def mapped(request: Any) -> bytes:
        return repr(dict(request.session)).encode()

    with Rig(by_path(both=both, logout=logout, mapped=mapped)) as rig:
        client = Client(rig)
        client.ask(b"/both")
        before = client.cookie
        ended: list[bool] = []
        rig.site.sessions[before.partition(b"=")[2]].notifyOnExpire(lambda: ended.append(True))
        client.ask(b"/logout")
        assert ended == [True]
        assert client.cookie not in (before, b"")
        assert Client(rig, before).ask(b"/mapped").body == b"{}"
        assert Client(rig, before).ask(b"/both").body == b"1"


def test_expire_ends_what_was_written_before_it_in_the_same_request() -> None:
    def begin_and_end(request: Any) -> bytes:
        request.getSession().notifyOnExpire(lambda: None)
        one = request.session["one"] = []
        two = request.session["two"] = []
        request.getSession().expire()
        one.append(1)
        two.append(2)
        return b"bye"

    with Rig(by_path(begin=begin_and_end)) as rig:
        answer = Client(rig).ask(b"/begin")
        assert (answer.status, answer.get(b"set-cookie")) == (200, None)
        assert (len(rig.site.cookie_sessions.store), rig.site.sessions) == (0, {})


def test_expire_of_one_not_used_ends_what_the_store_has() -> None:
    def logout(request: Any) -> bytes:
        request.getSession().expire()
        return b"bye"

    def mapped(request: Any) -> bytes:
        request.session["n"] = request.session.get("n", 0) + 1
        return b"%d" % request.session["n"]

    with Rig(by_path(mapped=mapped, logout=logout)) as rig:
        client = Client(rig)
        client.ask(b"/mapped")
        before = client.cookie
        client.ask(b"/logout")
        assert Client(rig, before).ask(b"/mapped").body == b"1"


def test_rotate_and_abandon() -> None:
    handlers = {
        "count": count,
        "rotate": lambda request: request.session.rotate() or b"",
        "abandon": lambda request: request.session.abandon() or b"",
    }
    with Rig(by_path(**handlers)) as rig:
        client = Client(rig)
        client.ask(b"/count")
        before = client.cookie
        client.ask(b"/rotate")
        assert client.cookie != before
        assert client.ask(b"/count").body == b"2"
        assert Client(rig, before).ask(b"/count").body == b"1"
        ended: list[bool] = []
        rig.site.sessions[client.cookie.partition(b"=")[2]].notifyOnExpire(lambda: ended.append(True))
        client.ask(b"/abandon")
        assert (ended, client.cookie) == ([True], b"")


def test_an_id_that_is_not_ours_is_never_taken_up() -> None:
    with Rig(Says(count)) as rig:
        client = Client(rig, b"session=" + b"A" * 43)
        client.ask()
        assert b"A" * 43 not in client.cookie
        assert b"A" * 43 not in rig.site.sessions


def test_v11_one_sweep_ends_what_is_idle() -> None:
    with Rig(Says(count), limits=Limits(session_idle_seconds=50, cleanup_seconds=10)) as rig:
        rig.site.startFactory()
        ended: list[int] = []
        clients = [Client(rig) for _ in range(3)]
        for number, client in enumerate(clients):
            client.ask()
            known = rig.site.sessions[client.cookie.partition(b"=")[2]]
            known.notifyOnExpire(lambda number=number: ended.append(number))
        del known
        rig.advance(40)
        clients[1].ask()
        rig.advance(20)
        assert sorted(ended) == [0, 2]
        rig.advance(50)
        assert sorted(ended) == [0, 1, 2]
        assert rig.site.sessions == {}
        rig.site.stopFactory()


def test_the_application_says_how_long() -> None:
    class Short(server.Session):
        sessionTimeout = 5

    with Rig(Says(count)) as rig:
        rig.site.sessionFactory = Short
        client = Client(rig)
        client.ask()
        (known,) = rig.site.sessions.values()
        assert isinstance(known, Short)
        rig.advance(4)
        assert rig.site.cleanup_expired_sessions().result == 0
        rig.advance(1)
        assert rig.site.cleanup_expired_sessions().result == 1


def test_one_whose_time_is_over_is_not_found_again_before_the_sweep() -> None:
    """Else a client that asks now and then would keep for ever what is to last five seconds."""

    class Short(server.Session):
        sessionTimeout = 5

    with Rig(Says(count)) as rig:
        rig.site.sessionFactory = Short
        client, ended = Client(rig), []
        client.ask()
        first = client.cookie
        (known,) = rig.site.sessions.values()
        known.notifyOnExpire(lambda: ended.append(True))
        rig.advance(4)
        assert (client.ask().body, ended) == (b"2", [])
        rig.advance(5)
        assert (client.ask().body, ended) == (b"1", [True])
        assert client.cookie != first
        assert len(rig.site.sessions) == 1


def test_one_used_all_the_time_ends_too() -> None:
    with Rig(Says(count), limits=Limits(session_idle_seconds=50, session_seconds=60)) as rig:
        client = Client(rig)
        for expected in (b"1", b"2"):
            assert client.ask().body == expected
            rig.advance(30)
        assert rig.site.cleanup_expired_sessions().result == 1


def test_past_the_bound_the_one_touched_longest_ago_expires() -> None:
    with Rig(Says(count), limits=Limits(max_sessions=2)) as rig:
        one, two, three = Client(rig), Client(rig), Client(rig)
        one.ask()
        two.ask()
        one.ask()
        ended: list[bool] = []
        rig.site.sessions[two.cookie.partition(b"=")[2]].notifyOnExpire(lambda: ended.append(True))
        three.ask()
        assert (ended, len(rig.site.sessions)) == ([True], 2)
        assert rig.site.cookie_sessions.objects.evicted == 1
        assert one.ask().body == b"3"


def test_a_callback_that_fails_costs_that_one() -> None:
    with Rig(Says(count)) as rig:
        for _ in range(2):
            Client(rig).ask()
        for known in rig.site.sessions.values():
            known.notifyOnExpire(lambda: 1 / 0)
        rig.advance(IDLE)
        assert rig.site.cleanup_expired_sessions().result == 2
        assert rig.site.sessions == {}
        assert len(rig.flush()) == 2


def test_a_factory_that_is_no_class() -> None:
    with Rig(Says(count)) as rig:
        rig.site.sessionFactory = lambda site, uid: server.Session(site, uid)
        client = Client(rig)
        assert [client.ask().body for _ in range(2)] == [b"1", b"2"]
        rig.advance(900)
        assert rig.site.cleanup_expired_sessions().result == 1


def test_make_session() -> None:
    with Rig(Says(count)) as rig:
        made = rig.site.makeSession()
        assert rig.site.getSession(made.uid) is made
        assert Client(rig, b"session=" + made.uid).ask().body == b"1"
        assert made.visits == 1
        with pytest.raises(KeyError):
            rig.site.getSession(b"none")


def test_one_with_a_timer_of_its_own_is_left_alone() -> None:
    with Rig(Says(count)) as rig:
        own = rig.site.sessions[b"own"] = server.Session(rig.site, b"own")
        own.startCheckingExpiration()
        rig.advance(IDLE)
        assert rig.site.cleanup_expired_sessions().result == 0
        assert rig.site.sessions == {}  # it ended by itself


def test_what_is_used_too_late_is_none_of_the_sites() -> None:
    kept: list[Any] = []

    def late(request: Any) -> bytes:
        kept.append(request.getSession())
        request.write(b"the head")
        kept[0].visits = 1
        return b""

    with Rig(by_path(late=late, never=lambda request: kept.append(request.getSession()) or b"")) as rig:
        Client(rig).ask(b"/late")
        Client(rig).ask(b"/never")
        kept[1].visits = 1
        assert rig.site.sessions == {}
        assert [known.visits for known in kept] == [1, 1]


def test_a_thousand_are_swept_in_parts() -> None:
    with Rig(Says(count), limits=Limits(session_idle_seconds=5, cleanup_seconds=1)) as rig:
        rig.site.startFactory()
        for _ in range(10_000):
            rig.site.makeSession()
        rig.advance(6)
        left = len(rig.site.sessions)
        assert 0 < left < 10_000
        rig.advance(3)
        assert rig.site.sessions == {}
        rig.site.stopFactory()


def test_with_a_store_that_is_away_those_of_this_process_go_on() -> None:
    store = SlowStore()
    with Rig(Says(count), sessions=Sessions(store)) as rig:
        client = Client(rig)
        client.ask()
        store.away = True
        peer = client.begin()
        store.answer()
        assert peer.responses()[0].body == b"2"
        peer = Client(rig, b"session=" + b"A" * 43).begin()
        store.answer()
        assert peer.responses()[0].status == 503


def test_a_subclass_of_site_makes_its_own() -> None:
    class Own(Site):
        class sessionFactory(server.Session):
            def __init__(self, site: Any, uid: bytes, reactor: Any = None) -> None:
                super().__init__(site, uid, reactor)
                self.first = uid

    with Rig(Says(lambda request: (count(request), request.getSession().first)[1])) as rig:
        rig.site.sessionFactory = Own.sessionFactory
        response = Client(rig).ask()
        assert cookie_of(response) == b"session=" + response.body
