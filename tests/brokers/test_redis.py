"""What is Redis's own: it is killed, cut off, silent, slow, demoted, or has less than its nodes remember."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher

from hardhttp.brokers import open_broker, redis
from hardhttp.brokers.memory import MemoryBroker
from hardhttp.brokers.redis import RedisBroker
from hardhttp.errors import BrokerAwayError, StoreError
from hardhttp.interfaces import BrokerState
from hardhttp.remote.redisaddress import RedisAddress
from tests.brokers.conftest import Cluster, Node
from tests.sse.subscribing import data_of, events
from tests.stores.redis_process import RedisProcess

pytestmark = pytest.mark.slow  # it starts real processes

SECRET = "pa/ss:w@rd"


@pytest.fixture
def cluster(own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(redis, "MAX_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(redis, "WAIT_SECONDS", 0.1)
    with ExitStack() as stack:
        made = Cluster(own_redis, stack)
        yield made
        pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event) + repr(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def last_is(peer: Any, data: str) -> bool:
    return data_of(peer)[-1:] == [data]


def has(node: Node, peer: Any, *data: str) -> bool:
    return data_of(peer)[-len(data) :] == list(data)


@ensureDeferred
async def test_killed_in_the_middle(own_redis: RedisProcess, cluster: Cluster) -> None:
    one, two = await cluster.node(broker_away="queue"), await cluster.node()
    here, there = one.subscribe("topic=t"), two.subscribe("topic=t")
    for number in range(50):
        one.hub.publish("t", str(number))
    own_redis.kill()  # with some of them on their way
    await cluster.until(lambda: one.state is two.state is BrokerState.AWAY)
    for number in range(50, 100):
        one.hub.publish("t", str(number))
    with pytest.raises(BrokerAwayError):
        two.hub.publish("t", "refused")
    own_redis.start()
    await cluster.until(lambda: len(data_of(here)) >= 100 and len(data_of(there)) >= 100)
    assert data_of(here) == data_of(there) == [str(number) for number in range(100)]
    assert events(here) == events(there)


@ensureDeferred
async def test_a_partition_is_found_out(cluster: Cluster, logged: list[str]) -> None:
    """Nothing is refused or closed: only deadlines tell."""
    cluster.answer_seconds = 0.2
    one, two = await cluster.node(), await cluster.node()
    here, there = one.subscribe("topic=t"), two.subscribe("topic=t")
    assert one.between is not None
    one.between.stop()
    failed = one.hub.publish("t", "into the void")
    with pytest.raises(BrokerAwayError, match="no answer within"):
        await failed.when_published()
    assert one.state is BrokerState.AWAY
    two.hub.publish("t", "meanwhile")
    await cluster.until(lambda: has(two, there, "meanwhile"))
    one.between.go()
    await cluster.until(lambda: has(one, here, "meanwhile"))
    await cluster.ready(one)
    one.hub.publish("t", "again")
    await cluster.until(lambda: has(one, here, "again") and has(two, there, "again"))
    assert data_of(here)[-2:] == data_of(there)[-2:] == ["meanwhile", "again"]
    assert any("the broker is away" in line for line in logged)
    assert any("is back" in line for line in logged)


@ensureDeferred
async def test_a_reader_alone_finds_out_too(own_redis: RedisProcess, cluster: Cluster) -> None:
    """Nobody publishes, and Redis says nothing."""
    cluster.answer_seconds = 0.1
    one = await cluster.node()
    own_redis.pause()
    await cluster.until(lambda: one.state is BrokerState.AWAY)
    own_redis.resume()
    await cluster.ready(one)


@ensureDeferred
async def test_what_did_not_come_in_time_is_asked_for_in_smaller_pages(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await cluster.node()
    peer = one.subscribe("topic=t")
    counts: list[bytes] = []
    plain = one.broker._reader.call

    def call(*words: bytes) -> Any:
        counts.append(words[2])
        return fail(StoreError("too late")) if len(counts) in (2, 3) else plain(*words)

    monkeypatch.setattr(one.broker._reader, "call", call)
    one.hub.publish("t", "a")
    await cluster.until(lambda: len(counts) > 5 and last_is(peer, "a"))
    assert counts[1:6] == [b"64", b"9", b"2", b"64", b"64"]


@ensureDeferred
async def test_slow_is_not_away(cluster: Cluster) -> None:
    one = await cluster.node()
    peer = one.subscribe("topic=t")
    assert one.between is not None
    one.between.delay_seconds = 0.05
    for number in range(200):
        one.hub.publish("t", str(number))
    await cluster.until(lambda: len(data_of(peer)) == 200)
    assert data_of(peer) == [str(number) for number in range(200)]
    assert one.state is BrokerState.READY
    one.between.delay_seconds = 0.0


@ensureDeferred
async def test_away_from_the_beginning(own_redis: RedisProcess, cluster: Cluster) -> None:
    own_redis.kill()
    one = cluster.begin()
    peer = one.subscribe("topic=t")
    await deferLater(cluster.reactor, 0.05)
    assert one.state is BrokerState.CONNECTING
    with pytest.raises(BrokerAwayError, match="the broker is away"):
        one.hub.publish("t", "a")
    own_redis.start()
    await cluster.ready(one)
    one.hub.publish("t", "b")
    await cluster.until(lambda: data_of(peer) == ["b"])


@ensureDeferred
async def test_numbers_that_redis_has_forgotten_are_not_given_again(own_redis: RedisProcess, cluster: Cluster) -> None:
    """It comes back as it was a moment ago: as after a crash, or when a replica takes over."""
    one, two = await cluster.node(), await cluster.node()
    here, there = one.subscribe("topic=t"), two.subscribe("topic=t")
    one.hub.publish("t", "kept")
    await cluster.until(lambda: has(one, here, "kept") and has(two, there, "kept"))
    kept = (
        own_redis.command("DUMP", cluster._prefix + "log"),
        own_redis.command("HGET", cluster._prefix + "meta", "seq"),
    )
    assert kept
    one.hub.publish("t", "lost")
    await cluster.until(lambda: has(one, here, "lost") and has(two, there, "lost"))
    lost_id = events(here)[-1].id
    await cluster.cut(one)
    await cluster.cut(two)
    own_redis.command("XDEL", cluster._prefix + "log", lost_id.partition("-")[2] + "-0")
    own_redis.command("RPOP", cluster._prefix + "t:t")
    own_redis.command("HINCRBY", cluster._prefix + "meta", "seq", "-1")
    old = one.hub.epoch
    cluster.mend(one)
    cluster.mend(two)
    await cluster.ready(one, two)
    assert one.hub.epoch == two.hub.epoch != old
    two.hub.publish("t", "after")
    await cluster.until(lambda: has(one, here, "after") and has(two, there, "after"))
    assert events(here)[-1].id != lost_id
    assert [event.type for event in events(here)] == ["message", "message", "gap", "message"]
    third = await cluster.node()
    back = third.subscribe("topic=t", last_event_id=lost_id.encode())
    await cluster.until(lambda: has(third, back, "after"))
    assert [event.type for event in events(back)] == ["gap", "message"]


@ensureDeferred
async def test_one_post_that_is_not_readable_costs_itself_alone(own_redis: RedisProcess, cluster: Cluster) -> None:
    one = await cluster.node()
    peer = one.subscribe("topic=t")
    one.hub.publish("t", "a")
    await cluster.until(lambda: has(one, peer, "a"))
    for junk in ("junk", '["n",1,"event"]\n', '["n",1,"event",["t"],7,false,null,0]\nx', "7\n"):
        number = int(own_redis.command("HINCRBY", cluster._prefix + "meta", "seq", "1")[1:-2])
        own_redis.command("XADD", cluster._prefix + "log", f"{number}-0", "t", junk)
    one.hub.publish("t", "b")
    await cluster.until(lambda: has(one, peer, "b"))
    assert data_of(peer) == ["a", "b"]
    assert one.state is BrokerState.READY
    two = await cluster.node()
    back = two.subscribe("topic=t", last_event_id=b"earliest")
    await cluster.until(lambda: data_of(back) == ["a", "b"])
    assert len(one.rig.flush() + two.rig.flush()) >= 4  # each is logged


@ensureDeferred
async def test_a_master_that_becomes_a_replica_is_left(own_redis: RedisProcess, cluster: Cluster) -> None:
    one = await cluster.node(broker_away="queue")
    peer = one.subscribe("topic=t")
    own_redis.command("REPLICAOF", "127.0.0.1", "1")
    one.hub.publish("t", "waits")
    await cluster.until(lambda: one.state is BrokerState.AWAY)
    assert "READONLY" in str(one.broker.why_away) or one.broker.why_away
    own_redis.command("REPLICAOF", "NO", "ONE")
    await cluster.until(lambda: data_of(peer) == ["waits"])


@ensureDeferred
async def test_the_password_is_nowhere(own_redis: RedisProcess, logged: list[str]) -> None:
    from twisted.internet import reactor

    url = f"redis://:pa%2Fss%3Aw%40rd@127.0.0.1:{own_redis.port}/0"
    broker = RedisBroker(url, reactor, answer_seconds=0.2)
    node = Node(broker, None)
    with node:
        node.rig.clock.advance(0)
        await deferLater(reactor, 0.05)
        assert SECRET not in f"{broker!r} {broker.why_away} {vars(broker)!r}"
        assert "w%40rd" not in f"{broker!r} {broker.why_away} {vars(broker)!r}"
        with pytest.raises(BrokerAwayError) as raised:
            node.hub.publish("t", "x")
        assert "rd" not in str(raised.value).replace("redis", "")
        await node.hub.stop()
    assert not any(SECRET in line or "w%40rd" in line for line in logged)


@ensureDeferred
async def test_by_sentinels(own_redis: RedisProcess, tmp_path: Path, cluster: Cluster) -> None:
    """A real one, and one before it that is away."""
    from twisted.internet import reactor

    own = tmp_path / "sentinel"
    own.mkdir()
    sentinel = RedisProcess(own)
    settings = own / "sentinel.conf"
    settings.write_text(f"port {sentinel.port}\nsentinel monitor main 127.0.0.1 {own_redis.port} 1\n")
    sentinel._command = [sentinel._command[0], str(settings), "--sentinel"]
    try:
        sentinel.start()
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main/0"
        made = RedisBroker(url, reactor, prefix=cluster._prefix)
        assert repr(made) == f"<RedisBroker {url}, connecting>"
        node = Node(made, None)
        with node:
            cluster.nodes.append(node)
            own_redis.command("REPLICAOF", "127.0.0.1", "1")  # the sentinel has not heard of it
            await cluster.until(lambda: "it is not the master" in str(made.why_away))
            own_redis.command("REPLICAOF", "NO", "ONE")
            await cluster.ready(node)
            peer, other = node.subscribe("topic=t"), await cluster.node()
            other.hub.publish("t", "a")
            await cluster.until(lambda: data_of(peer) == ["a"])
            await cluster.leave(node)
        none = RedisBroker(f"redis+sentinel://127.0.0.1:{sentinel.port}/other", reactor, prefix=cluster._prefix)
        node = Node(none, None)
        with node:
            node.rig.clock.advance(0)
            await cluster.until(lambda: "no sentinel knows the master" in str(none.why_away))
            await node.hub.stop()
    finally:
        sentinel.kill()


def test_addresses() -> None:
    found = RedisAddress.parse("rediss+sentinel://:secret@a,[::1]:7/the%20main/3")
    assert (found.sentinels, found.master, found.database) == ((("a", 26379), ("::1", 7)), "the main", 3)
    assert (found.scheme, found.password, found.at("h", 5).port) == ("rediss", "secret", 5)
    assert str(found) == "rediss+sentinel://a:26379,[::1]:7/the main/3"
    assert [str(each) for each in found.of_sentinels()] == ["rediss://a:26379/0", "rediss://[::1]:7/0"]
    for bad in (
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/",
        "redis+sentinel://a:x/m",
        "redis+sentinel://,a/m",
        "redis+sentinel://a:0/m",
        "redis+sentinel://a/m/x",
        "redis+sentinel://a/m?x=1",
        "redis+sentinel://" + ",".join("a" * 17) + "/m",
    ):
        with pytest.raises(ValueError, match="the Redis URL"):
            RedisAddress.parse(bad)


def test_by_url() -> None:
    from twisted.internet import reactor

    assert isinstance(open_broker("memory:", reactor), MemoryBroker)
    for url in ("redis://h", "rediss://h:7/2", "unix:/run/r.sock", "redis+sentinel://h/m"):
        assert isinstance(open_broker(url, reactor), RedisBroker)
    for bad in ("", "memory:x", "sqlite:x", "redis"):
        with pytest.raises(ValueError, match="broker"):
            open_broker(bad, reactor)


@pytest.mark.slow  # it starts Python
def test_without_txredisapi() -> None:
    script = (
        "import sys; sys.modules['txredisapi'] = None\n"
        "from twisted.internet import reactor\n"
        "from hardhttp.brokers import open_broker\n"
        "try:\n    open_broker('redis://h', reactor)\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "StoreError a broker in Redis needs txredisapi: pip install 'hardhttp[redis]'\n"
