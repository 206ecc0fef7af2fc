"""Counts, whose keys no peer can choose."""

from __future__ import annotations

import json

from twisted.internet.task import Clock

from hardhttp.errors import Reason
from hardhttp.net.statistics import Statistics
from hardhttp.testing import Rig
from tests.net.loopback import Answer


def test_responses_are_counted_by_method_and_class() -> None:
    statistics = Statistics(Clock())
    for method, status in ((b"GET", 200), (b"GET", 304), (b"POST", 500), (b"BREW", 418), (b"get", 200)):
        statistics.response(method, status)
    said = statistics.snapshot()
    assert said["requests"] == 5
    assert said["requests_by_method"] == {"GET": 2, "POST": 1, "other": 2}
    assert said["responses_by_class"] == {"2xx": 2, "3xx": 1, "4xx": 1, "5xx": 1}


def test_e07_no_key_comes_from_a_peer() -> None:
    statistics = Statistics(Clock())
    before = (len(statistics.methods), len(statistics.classes), len(statistics.closed), len(statistics.refused))
    for number in range(10_000):
        statistics.response(b"METHOD%d" % number, number)
    assert (len(statistics.methods), len(statistics.classes), len(statistics.closed), len(statistics.refused)) == before


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    assert statistics.rate() == 0
    for second in range(1, 31):
        for _ in range(second):
            statistics.response(b"GET", 200)
        clock.advance(1)
        statistics.sample(clock.seconds(), 3)
    assert statistics.rate() == sum(range(21, 31)) / 10
    assert statistics.snapshot()["uptime_seconds"] == 30


def test_the_peak_and_reset() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    for connections in (3, 7, 2):
        statistics.sample(0, connections)
    statistics.response(b"GET", 200)
    statistics.closed[Reason.IDLE] += 1
    statistics.accepted = statistics.bytes_in = 9
    assert statistics.snapshot()["peak_connections"] == 7
    clock.advance(5)
    statistics.reset()
    said = statistics.snapshot()
    assert not any(said.values()), said


def test_what_the_server_decided_is_reaped_and_what_it_did_not_is_not() -> None:
    statistics = Statistics(Clock())
    for reason in Reason:
        statistics.closed[reason] += 1
    said = statistics.snapshot()
    assert set(said["closed_by_reason"]) == {reason.value for reason in Reason}
    assert set(said["closed_by_reason"]) - set(said["reaped_by_reason"]) == {
        *("client-closed", "client-reset", "response-end", "application", "upgraded-end")
    }
    json.dumps(said)


def test_bytes_are_counted_as_they_pass() -> None:
    with Rig(Answer(lambda request: b"x" * 1000)) as rig:
        peer = rig.connect()
        data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3
        peer.send(data)
        assert rig.site.statistics.bytes_in == len(data)
        assert rig.site.statistics.bytes_out == len(peer.received) > 3000
