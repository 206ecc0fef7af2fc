"""The tracker: who is connected, keyed by transport, and how many from each address."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress

from hardhttp import Limits
from hardhttp.net.tracker import Tracker, address_key
from hardhttp.testing import Rig
from tests.net.loopback import Answer


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
        (IPv4Address("TCP", "127.0.0.1", 1), None),
        (IPv4Address("TCP", "127.9.9.9", 1), None),
        (IPv6Address("TCP", "::1", 1), None),
        (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "2001:db8:1:2:ffff::", 1), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "2001:db8:1:3::", 1), "2001:db8:1:3::/64"),
        (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::/64"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
        (IPv6Address("TCP", "::ffff:127.0.0.1", 1), None),
        (IPv4Address("TCP", "not an address", 1), "not an address"),
        (UNIXAddress(b"/run/http"), None),
        (HostnameAddress(b"a", 1), None),
        (None, None),
    ],
    ids=str,
)
def test_what_a_peer_is_counted_under(peer: Any, key: str | None) -> None:
    assert address_key(peer) == key


def test_nothing_shifts_when_another_leaves() -> None:
    tracker: Tracker[int] = Tracker()
    transports: list[Any] = [object() for _ in range(5)]
    for number, transport in enumerate(transports):
        tracker.add(transport, number)
    tracker.remove(transports[1])
    tracker.remove(transports[1])
    assert [tracker.get(transport) for transport in transports] == [0, None, 2, 3, 4]
    assert list(tracker) == [0, 2, 3, 4]
    assert (len(tracker), tracker.peak) == (4, 5)
    assert tracker.get("no transport") is None


def test_connections_may_end_while_they_are_looked_at() -> None:
    tracker: Tracker[int] = Tracker()
    transports: list[Any] = [object() for _ in range(5)]
    for number, transport in enumerate(transports):
        tracker.add(transport, number)
    seen = []
    for number in tracker:
        seen.append(number)
        for transport in transports:
            tracker.remove(transport)
    assert seen == [0, 1, 2, 3, 4]
    assert not len(tracker)


def test_an_address_is_in_the_table_only_while_it_is_connected() -> None:
    tracker: Tracker[int] = Tracker()
    transports: list[Any] = [object() for _ in range(6)]
    for number, transport in enumerate(transports):
        tracker.add(transport, number, [None, "a", "b"][number % 3])
    assert (tracker.from_address("a"), tracker.from_address("c"), tracker.from_address(None)) == (2, 0, 0)
    assert tracker.addresses == 2
    for transport in transports[:4]:
        tracker.remove(transport)
    assert (tracker.from_address("a"), tracker.addresses) == (1, 2)
    for transport in transports:
        tracker.remove(transport)
    assert (tracker.from_address("a"), tracker.addresses) == (0, 0)


@pytest.mark.slow
def test_v01_ten_thousand_connects_and_disconnects() -> None:
    """In random order, answered later and at once: each response goes to its own connection."""
    from twisted.web.server import NOT_DONE_YET

    rng = random.Random(1)
    waiting: list[Any] = []

    def answer(request: Any) -> Any:
        if rng.random() < 0.5:
            return request.path
        waiting.append(request)
        return NOT_DONE_YET

    with Rig(Answer(answer), limits=Limits(max_connections=100_000)) as rig:
        marks: dict[Any, bytes] = {}
        for number in range(10_000):
            peer = rig.connect(f"192.0.{rng.randrange(3)}.{rng.randrange(250)}")
            marks[peer] = b"/%d" % number
            peer.send(b"GET " + marks[peer] + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            while waiting and rng.random() < 0.6:
                request = waiting.pop(rng.randrange(len(waiting)))
                request.write(request.path)
                request.finish()
            while len(marks) > 20 or (marks and rng.random() < 0.3):
                peer = rng.choice(list(marks))
                mark = marks.pop(peer)
                for response in peer.responses():
                    assert response.body == mark
                peer.reset()
                assert peer.closed
            assert rig.site.connection_count == len(marks)
        rig.peers[:] = marks
        waiting.clear()


@pytest.mark.parametrize(("address", "capped"), [("192.0.2.1", True), ("127.0.0.1", False)])
def test_the_cap_of_an_address(address: str, capped: bool) -> None:
    with Rig(Answer(lambda request: b""), limits=Limits(max_connections_per_address=2)) as rig:
        for _ in range(2):
            assert not rig.connect(address).received
        assert (b"connections-per-address" in rig.connect(address).received) is capped


def test_trusted_proxies_are_exempt_from_the_cap() -> None:
    with Rig(Answer(lambda request: b"here"), limits=Limits(max_connections_per_address=2)) as rig:
        rig.site.trusted_proxies = ["192.0.2.7", "2001:db8::/32"]
        for host, admitted in (("192.0.2.7", 4), ("2001:db8::1", 4), ("::ffff:192.0.2.7", 4), ("192.0.2.8", 2)):
            answers = []
            for _ in range(4):
                peer = rig.connect(host)
                peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                answers.append(peer.responses()[0].status)
            assert answers == [200] * admitted + [503] * (4 - admitted), host
        with pytest.raises(ValueError, match="nobody"):
            rig.site.trusted_proxies = ["nobody"]
