"""What is Redis's own: it goes away, falls silent and comes back; its password; what it drops by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher

from hardhttp.errors import StoreError
from hardhttp.interfaces import SessionTimes
from hardhttp.limits import Limits
from hardhttp.remote import redisconnection
from hardhttp.remote.redisaddress import RedisAddress
from hardhttp.remote.redisconnection import Phase
from hardhttp.stores.redis import RedisStore
from tests.stores.redis_process import RedisProcess

LIMITS = Limits()
TIMES = SessionTimes(1000.0, 1000.0, 2000.0)
SECRET = "pa/ss:w@rd"


@pytest.fixture
def connect() -> Iterator[Callable[..., RedisStore]]:
    """A function that makes stores; each is closed at the end and then holds nothing."""
    from twisted.internet import reactor

    made: list[RedisStore] = []

    def new(url: str, **options: Any) -> RedisStore:
        made.append(RedisStore(url, reactor, **options))
        return made[-1]

    yield new
    for store in made:
        pytest_twisted.blockon(store.close())
        assert store._connection.phase is Phase.IDLE


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event) + repr(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


async def until(true: Callable[[], bool]) -> None:
    from twisted.internet import reactor

    for _ in range(1000):
        if true():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not become true")


async def works(store: RedisStore) -> None:
    await until(lambda: store._connection.phase is not Phase.AWAY)
    assert await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True) is True


def clients(server: RedisProcess) -> int:
    """Connections to the server, without the one that asks."""
    return server.command("CLIENT", "LIST").count(b" addr=") - 1


# -- away, and back --------------------------------------------------------------------------


@ensureDeferred
async def test_nothing_is_connected_before_the_first_call(
    own_redis: RedisProcess, connect: Callable[..., RedisStore]
) -> None:
    store = connect(own_redis.url)
    assert clients(own_redis) == 0
    calls = [store.save(b"%d" % n, {}, TIMES, LIMITS, True) for n in range(20)]
    assert await gatherResults(calls) == [True] * 20
    assert clients(own_redis) == 1
    await store.close()
    await until(lambda: clients(own_redis) == 0)
    assert await store.count() == 20
    assert clients(own_redis) == 1


@ensureDeferred
async def test_away_from_the_beginning(own_redis: RedisProcess, connect: Callable[..., RedisStore]) -> None:
    own_redis.kill()
    store = connect(own_redis.url)
    calls = [store.load(b"k", 1000.0) for _ in range(3)]
    for call in calls:
        with pytest.raises(StoreError, match=r"Redis at redis://127\.0\.0\.1:\d+/0: Connection was refused"):
            await call
    failed = store.load(b"k", 1000.0)
    assert failed.called  # at once: it is known
    with pytest.raises(StoreError):
        await failed
    own_redis.start()
    await works(store)


@ensureDeferred
async def test_killed_and_started_again(
    own_redis: RedisProcess, connect: Callable[..., RedisStore], logged: list[str]
) -> None:
    store = connect(own_redis.url)
    await store.save(b"kept", {"a": "1"}, TIMES, LIMITS, True)
    own_redis.kill()
    for _ in range(2):  # one finds the connection lost, one the port closed
        with pytest.raises(StoreError):
            await store.load(b"kept", 1000.0)
    assert store._connection.phase is Phase.AWAY
    own_redis.start()
    await works(store)
    assert (await store.load(b"kept", 1000.0)).values == {"a": "1"}
    assert [line for line in logged if " is back" in line]
    assert await store.count() == 2


@ensureDeferred
async def test_a_restart_between_two_calls_is_not_noticed(
    own_redis: RedisProcess, connect: Callable[..., RedisStore]
) -> None:
    store = connect(own_redis.url)
    await store.save(b"kept", {"a": "1"}, TIMES, LIMITS, True)
    own_redis.kill()
    own_redis.start()
    await until(lambda: store._connection.phase is Phase.IDLE)
    assert (await store.load(b"kept", 1000.0)).values == {"a": "1"}


@ensureDeferred
async def test_calls_in_flight_when_it_is_killed(own_redis: RedisProcess, connect: Callable[..., RedisStore]) -> None:
    store = connect(own_redis.url)
    await store.count()
    own_redis.pause()
    calls = [store.load(b"%d" % n, 1000.0) for n in range(10)]
    own_redis.kill()
    for call in calls:
        with pytest.raises(StoreError, match="the connection was lost"):
            await call
    assert len(store._connection._pending) == 0


@pytest.mark.slow
@ensureDeferred
async def test_silent(own_redis: RedisProcess, connect: Callable[..., RedisStore]) -> None:
    """The kernel goes on accepting for a stopped Redis: only the deadline tells."""
    store = connect(own_redis.url, answer_seconds=0.15)
    await store.save(b"kept", {"a": "1"}, TIMES, LIMITS, True)
    protocol = store._connection._protocol
    own_redis.pause()
    calls = [store.load(b"kept", 1000.0) for _ in range(5)]
    for call in calls:
        with pytest.raises(StoreError, match=r"no answer within 0\.15 s"):
            await call
    await until(lambda: not protocol.connected)  # dropped
    with pytest.raises(StoreError):  # and it is known, though connections are accepted
        await store.load(b"kept", 1000.0)
    await until(lambda: store._connection._attempt is not None)
    assert store.load(b"kept", 1000.0).addErrback(lambda _: None).called  # an attempt keeps nobody waiting
    attempts = store._connection._pause_seconds
    await until(lambda: store._connection._pause_seconds > attempts)  # one that was accepted and given up
    own_redis.resume()
    await works(store)
    assert (await store.load(b"kept", 1000.0)).values == {"a": "1"}
    await until(lambda: clients(own_redis) == 1)


@pytest.mark.parametrize("paused", [False, True])
@ensureDeferred
async def test_close_while_it_is_away(
    own_redis: RedisProcess, connect: Callable[..., RedisStore], paused: bool
) -> None:
    store = connect(own_redis.url, answer_seconds=0.1)
    if paused:
        own_redis.pause()
    else:
        own_redis.kill()
    waiting = store.load(b"k", 1000.0).addErrback(lambda failure: failure.trap(StoreError))
    await store.close()
    assert waiting.called
    with pytest.raises(StoreError):
        await store.load(b"k", 1000.0)
    if paused:
        await until(lambda: store._connection._attempt is not None)
    await store.close()  # in the middle of an attempt, or of a pause
    assert store._connection._retry is store._connection._attempt is None


@ensureDeferred
async def test_pauses_between_attempts_grow_up_to_a_bound(
    own_redis: RedisProcess, connect: Callable[..., RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redisconnection, "MIN_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(redisconnection, "MAX_PAUSE_SECONDS", 0.008)
    own_redis.kill()
    store = connect(own_redis.url)
    pauses: list[float] = []
    hopeless = store._connection._lose_hope

    def noted(reason: str) -> None:
        hopeless(reason)
        pauses.append(store._connection._pause_seconds)

    monkeypatch.setattr(store._connection, "_lose_hope", noted)
    await store.count().addErrback(lambda failure: failure.trap(StoreError))
    await until(lambda: len(pauses) >= 6)
    assert pauses[2:] == [0.008] * len(pauses[2:])
    assert pauses[0] < pauses[1] < pauses[2]
    monkeypatch.undo()


@ensureDeferred
async def test_calls_that_wait_are_bounded(
    own_redis: RedisProcess, connect: Callable[..., RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redisconnection, "MAX_PENDING", 10)
    store = connect(own_redis.url, answer_seconds=0.2)
    await store.count()
    own_redis.pause()
    calls = [store.load(b"k", 1000.0).addErrback(lambda failure: failure.trap(StoreError)) for _ in range(10)]
    with pytest.raises(StoreError, match="10 calls wait"):
        await store.load(b"k", 1000.0)
    assert await gatherResults(calls) == [StoreError] * 10


@ensureDeferred
async def test_what_answers_is_no_redis(connect: Callable[..., RedisStore]) -> None:
    from twisted.internet import reactor

    class Babbler(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(b"-ERR unknown command\r\n")

    port = reactor.listenTCP(0, Factory.forProtocol(Babbler), interface="127.0.0.1")
    store = connect(f"redis://127.0.0.1:{port.getHost().port}", answer_seconds=0.2)
    with pytest.raises(StoreError, match="it answered ERR"):
        await store.load(b"k", 1000.0)
    await store.close()
    await port.stopListening()


# -- its words -------------------------------------------------------------------------------


@ensureDeferred
async def test_password_and_database(tmp_path: Path, connect: Callable[..., RedisStore], logged: list[str]) -> None:
    server = RedisProcess(tmp_path, "--requirepass", SECRET)
    server.start()
    place = f"127.0.0.1:{server.port}"
    store = connect(f"redis://:pa%2Fss%3Aw%40rd@{place}/3")
    assert await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True) is True
    assert await connect(f"redis://default:pa%2Fss%3Aw%40rd@{place}/3").count() == 1
    assert await connect(f"redis://:pa%2Fss%3Aw%40rd@{place}/0").count() == 0
    assert await connect(f"unix://:pa%2Fss%3Aw%40rd@{server.socket_path}?db=3").count() == 1
    said = [repr(store), repr(store._address), str(store._address), repr(vars(store))]
    for url, why in [
        (f"redis://{place}/3", "it answered NOAUTH"),
        (f"redis://:wrongword@{place}/3", "it answered WRONGPASS"),
        (f"redis://:pa%2Fss%3Aw%40rd@{place}/99999", "it answered ERR"),
    ]:
        with pytest.raises(StoreError, match=why) as caught:
            await connect(url).count()
        said += [str(caught.value), repr(caught.value)]
    for line in [*said, *logged]:
        assert SECRET not in line
        assert "wrongword" not in line
        assert "ss%3A" not in line
    server.kill()


@ensureDeferred
async def test_scripts_it_has_never_seen_keep_their_turn(
    own_redis: RedisProcess, connect: Callable[..., RedisStore]
) -> None:
    """A server that has just begun: what it does not know yet is not overtaken by what came after it."""
    store = connect(own_redis.url)
    await works(store)  # so it knows how to save
    answers = await gatherResults(
        [store.delete(b"k"), store.save(b"k", {"a": "2"}, TIMES, LIMITS, False), store.touch(b"k", TIMES)]
    )
    assert answers == [True, False, False]


@ensureDeferred
async def test_scripts_it_has_forgotten_are_sent_again(
    own_redis: RedisProcess, connect: Callable[..., RedisStore]
) -> None:
    store = connect(own_redis.url)
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    assert own_redis.command("SCRIPT", "FLUSH") == b"+OK\r\n"
    calls = [store.save(b"k", {f"b{n}": "1"}, TIMES, LIMITS, False) for n in range(5)]
    assert await gatherResults(calls) == [True] * 5
    assert len((await store.load(b"k", 1000.0)).values) == 6


@ensureDeferred
async def test_its_memory_is_full(own_redis: RedisProcess, connect: Callable[..., RedisStore]) -> None:
    store = connect(own_redis.url)
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreError, match=r"it answered OOM$"):
        await store.save(b"secretkey", {"secretname": "secrettext"}, TIMES, LIMITS, True)
    assert (await store.load(b"k", 1000.0)).values == {"a": "1"}
    own_redis.command("CONFIG", "SET", "maxmemory", "0")
    assert await store.save(b"k", {"b": "2"}, TIMES, LIMITS, True) is True


@ensureDeferred
async def test_what_it_drops_by_itself_is_mended(own_redis: RedisProcess, connect: Callable[..., RedisStore]) -> None:
    store = connect(own_redis.url)
    limits = Limits(max_session_bytes=1024, max_sessions_bytes=1024)
    for number in range(4):
        await store.save(b"%d" % number, {"n": "x" * 255}, TIMES, limits, True)
    own_redis.command("DEL", "{hardhttp}:s:0", "{hardhttp}:s:1", "{hardhttp}:accessed")
    await store.sweep(1000.0)
    assert await store.count() == 2
    for number in (4, 5):
        await store.save(b"%d" % number, {"n": "x" * 255}, TIMES, limits, True)
    assert (await store.count(), store.evicted) == (4, 0)
    assert own_redis.command("HGET", "{hardhttp}:sizes", "") == b"$4\r\n1024\r\n"
    await store.save(b"6", {}, TIMES, limits, True)
    await store.save(b"6", {"m": "1"}, TIMES, limits, True)
    assert store.evicted == 1


@ensureDeferred
async def test_a_session_nobody_sweeps_goes_by_itself(
    own_redis: RedisProcess, connect: Callable[..., RedisStore]
) -> None:
    store = connect(own_redis.url)
    await store.save(b"k", {}, SessionTimes(1000.0, 1000.0, 1100.0), LIMITS, True)

    def seconds_left() -> int:
        return int(own_redis.command("TTL", "{hardhttp}:s:k")[1:])

    assert 150 <= seconds_left() <= 160
    await store.touch(b"k", SessionTimes(1000.0, 1050.0, 1350.0))
    assert 350 <= seconds_left() <= 360
    await store.rename(b"k", b"l")
    assert own_redis.command("TTL", "{hardhttp}:s:l")[1:4] in (b"359", b"360")


@ensureDeferred
async def test_stores_share_what_is_there(own_redis: RedisProcess, connect: Callable[..., RedisStore]) -> None:
    one, two = connect(own_redis.url), connect(own_redis.url)
    await one.save(b"k", {}, TIMES, LIMITS, True)
    calls = [
        store.save(b"k", {f"{name}{n}": "1"}, TIMES, LIMITS, False)
        for n in range(100)
        for name, store in (("one", one), ("two", two))
    ]
    assert await gatherResults(calls) == [True] * 200
    assert len((await one.load(b"k", 1000.0)).values) == 200
    three = connect(own_redis.url, prefix="{other}:")
    assert await three.count() == 0


# -- its URL ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown", "kind"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0", TCP4ClientEndpoint),
        ("redis://[::1]:7000/2", "redis://[::1]:7000/2", TCP6ClientEndpoint),
        ("redis://host/", "redis://host:6379/0", HostnameEndpoint),
        ("unix:/run/redis.sock", "unix:/run/redis.sock?db=0", UNIXClientEndpoint),
        ("unix:///run/redis.sock?db=4", "unix:/run/redis.sock?db=4", UNIXClientEndpoint),
        ("unix://u:secret@/run/redis.sock", "unix:/run/redis.sock?db=0", UNIXClientEndpoint),
        ("redis://u:secret@host:1/15", "redis://host:1/15", HostnameEndpoint),
    ],
)
def test_url(url: str, shown: str, kind: type) -> None:
    from twisted.internet import reactor

    address = RedisAddress.parse(url)
    assert str(address) == shown
    assert isinstance(address.endpoint(reactor, 1.0), kind)
    assert "secret" not in repr(address)
    assert ("secret" in url) == (address.password == "secret")


def test_url_with_tls() -> None:
    from twisted.internet import reactor

    address = RedisAddress.parse("rediss://host/1")
    assert str(address) == "rediss://host:6379/1"
    assert not isinstance(address.endpoint(reactor, 1.0), HostnameEndpoint)  # but one wrapped around it


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret/with@slash@host",
        "redis://:secret#hash@host",
        "redis://:secret?mark@host",
        "redis://user:secret@",
        "redis://:secret@host:port",
        "redis://:secret@host:0",
        "redis://:secret@host:65536",
        "redis://:secret@host/db",
        "redis://:secret@host/-1",
        "redis://:secret@host/1/2",
        "redis://:secret@host/1?x=secret",
        "redis://secret@host/1",
        "redis:secret",
        "redis://",
        "http://:secret@host",
        "unix:",
        "unix://secret/path",
        "unix:/path?db=secret",
        "unix:/path?password=secret",
        "redis://[:secret@host",
    ],
)
def test_a_malformed_url_is_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match=r"the Redis URL.*it should be such as") as caught:
        RedisAddress.parse(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_without_txredisapi(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet import reactor

    monkeypatch.setitem(sys.modules, "txredisapi", None)
    with pytest.raises(StoreError, match=r"pip install 'hardhttp\[redis\]'"):
        RedisStore("redis://127.0.0.1", reactor)
