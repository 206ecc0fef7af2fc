"""Redis over TLS, and behind sentinels that replace a master which dies: real ones, of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from hardhttp.brokers import open_broker, redis
from hardhttp.brokers.redis import RedisBroker
from hardhttp.interfaces import BrokerState, IBroker
from hardhttp.remote import redisconnection
from hardhttp.remote.redisaddress import RedisAddress
from tests.brokers.between import Between
from tests.brokers.conftest import Cluster
from tests.brokers.test_redis import SECRET, logged  # noqa: F401 - a fixture
from tests.certificates import Authority
from tests.sse.subscribing import data_of, events
from tests.stores.redis_process import RedisProcess, SentinelProcess

pytestmark = pytest.mark.slow  # it starts real processes

QUOTED = "pa%2Fss%3Aw%40rd"


class Elsewhere(Cluster):
    """Nodes that find their Redis by ``url``."""

    url = ""

    def broker(self) -> tuple[IBroker, Between | None]:
        options: dict[str, Any] = {"prefix": self._prefix, "bounds": self.bounds}
        return RedisBroker(self.url, self.reactor, answer_seconds=self.answer_seconds, **options), None


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    monkeypatch.setattr(redis, "MAX_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(redisconnection, "MAX_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(redis, "WAIT_SECONDS", 0.1)
    with ExitStack() as stack:
        made = Elsewhere(None, stack)
        yield made
        pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


@attrs.define
class Identity:
    """A file for a server, and the one of whom to believe about it."""

    pem: Path
    ca: Path


@pytest.fixture
def identity(tmp_path: Path) -> Callable[..., Identity]:
    def make(*names: str, of: str = "test authority") -> Identity:
        authority = Authority(tmp_path, of)
        pem = authority.issue(*names).pem(tmp_path / f"{of} {names[0]}.pem".replace(" ", "-"))
        pem.write_bytes(pem.read_bytes() + authority.path.read_bytes())
        return Identity(pem, authority.path)

    return make


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a process in a folder of its own."""
    with ExitStack() as stack:

        def begin(kind: Any, name: str, *arguments: Any, **more: Any) -> Any:
            folder = tmp_path / name
            folder.mkdir()
            made = kind(folder, *arguments, **more)
            stack.callback(made.kill)
            made.start()
            return made

        yield begin


async def why_away(cluster: Elsewhere, url: str) -> str:
    """Why there is no way to what ``url`` names."""
    cluster.url = url
    node = cluster.begin()
    await cluster.until(lambda: node.broker.why_away != "it has not been reached yet")
    said = str(node.broker.why_away)
    await cluster.leave(node)
    return said


@ensureDeferred
async def test_by_tls(cluster: Elsewhere, identity: Any, start: Any, logged: list[str]) -> None:  # noqa: F811
    known, other = identity("127.0.0.1", "localhost"), identity("127.0.0.1", of="another authority")
    server = start(RedisProcess, "redis", certificate=known.pem, password=SECRET)
    place = f":{QUOTED}@127.0.0.1:{server.port}"
    cluster.url = f"rediss://{place}/0?ca={known.ca}"
    one, two = await cluster.node(), await cluster.node()
    peers = [one.subscribe("topic=t"), two.subscribe("topic=t")]
    one.hub.publish("t", "x" * 100_000)
    two.hub.publish("t", "y")
    await cluster.until(lambda: all(len(data_of(peer)) == 2 for peer in peers))
    assert events(peers[0]) == events(peers[1])
    server.kill()
    await cluster.until(lambda: one.state is two.state is BrokerState.AWAY)
    server.start()
    await cluster.ready(one, two)
    one.hub.publish("t", "again")
    await cluster.until(lambda: all(data_of(peer)[-1] == "again" for peer in peers))

    assert "certificate verify failed" in await why_away(cluster, f"rediss://{place}/0?ca={other.ca}")
    assert "certificate verify failed" in await why_away(cluster, f"rediss://{place}/0")
    assert "it answered WRONGPASS" in await why_away(cluster, f"rediss://:x@127.0.0.1:{server.port}/0?ca={known.ca}")
    assert "the connection was lost" in await why_away(cluster, f"redis://{place}/0")
    assert any("certificate verify failed" in line for line in logged)
    assert not any(SECRET in line or QUOTED in line for line in logged)


@ensureDeferred
async def test_anothers_certificate_gets_no_password(cluster: Elsewhere, identity: Any, start: Any) -> None:
    elsewhere = identity("redis.example")
    server = start(RedisProcess, "redis", certificate=elsewhere.pem)
    url = f"rediss://:{QUOTED}@127.0.0.1:{server.port}/0?ca={elsewhere.ca}"
    assert "its certificate is not that of 127.0.0.1" in await why_away(cluster, url)
    assert b"cmdstat_auth" not in server.command("INFO", "commandstats")


@ensureDeferred
async def test_what_does_not_speak_tls(cluster: Elsewhere, start: Any) -> None:
    server = start(RedisProcess, "redis")
    cluster.answer_seconds = 0.3
    assert "no answer within 0.3 s" in await why_away(cluster, f"rediss://127.0.0.1:{server.port}/0")


@ensureDeferred
async def test_a_redis_that_asks_who_we_are(cluster: Elsewhere, identity: Any, start: Any) -> None:
    known = identity("127.0.0.1")
    server = start(RedisProcess, "redis", "--tls-auth-clients", "yes", certificate=known.pem)
    place = f"rediss://127.0.0.1:{server.port}/0?ca={known.ca}"
    cluster.url = f"{place}&cert={known.pem}"
    node = await cluster.node()
    peer = node.subscribe("topic=t")
    node.hub.publish("t", "a")
    await cluster.until(lambda: data_of(peer) == ["a"])
    assert "TLS failed: " in await why_away(cluster, place)


def test_files_that_cannot_be_used(tmp_path: Path, identity: Any) -> None:
    from twisted.internet import reactor

    known, other = identity("127.0.0.1"), identity("127.0.0.1", of="another authority")
    junk = tmp_path / "junk"
    junk.write_text("junk")
    for query, said in (
        (f"ca={tmp_path / 'nothing'}", f"the Redis URL's ca: No such file or directory: {tmp_path / 'nothing'}"),
        (f"ca={tmp_path}", "the Redis URL's ca: Is a directory"),
        (f"ca={junk}", f"the Redis URL's ca: there is no certificate in {junk}"),
        (f"ca={known.ca}&cert={junk}", "the Redis URL's cert and key cannot be used together"),
        (f"cert={known.pem}&key={tmp_path / 'nothing'}", "the Redis URL's key: No such file or directory"),
        (f"cert={known.ca}&key={other.pem}", "the Redis URL's cert and key cannot be used together"),
        (f"key={known.pem}", "the Redis URL names a key without a cert"),
        ("verify=0", "the Redis URL may name the files ca, cert, key, and nothing else"),
    ):
        for url in (f"rediss://:{QUOTED}@h/0?{query}", f"rediss+sentinel://:{QUOTED}@h/main?{query}"):
            with pytest.raises(ValueError) as raised:
                open_broker(url, reactor)
            assert said in str(raised.value)
            assert QUOTED not in str(raised.value)
    for url in (f"redis://h/0?ca={known.ca}", f"redis+sentinel://h/main?ca={known.ca}"):
        with pytest.raises(ValueError, match="the Redis URL is malformed"):
            RedisAddress.parse(url)


def replicates(master: RedisProcess) -> bool:
    return b"state=online" in info(master)


def info(server: RedisProcess) -> bytes:
    """What it says of its part; nothing while it changes that, and hangs up on everybody."""
    try:
        return server.command("INFO", "replication")
    except OSError:
        return b""


@ensureDeferred
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_replica_takes_over(cluster: Elsewhere, identity: Any, start: Any, tls: bool) -> None:
    """The master is killed; what was published before and meanwhile comes once to each, or as much as is told of."""
    known = identity("127.0.0.1") if tls else None
    more = {"certificate": None if known is None else known.pem}
    own = {"password": SECRET, **more}
    master = start(RedisProcess, "master", "--repl-diskless-sync-delay", "0", **own)
    replica = start(RedisProcess, "replica", "--replicaof", "127.0.0.1", str(master.port), **own)
    sentinel = start(SentinelProcess, "sentinel", master, f"sentinel auth-pass main {SECRET}", **more)
    await cluster.until(lambda: replicates(master))
    await until_slowly(cluster, lambda: b"slaves=1" in sentinel.command("INFO", "sentinel"))
    scheme, query = ("redis", "") if known is None else ("rediss", f"?ca={known.ca}")
    cluster.url = f"{scheme}+sentinel://:{QUOTED}@127.0.0.1:{sentinel.port}/main/0{query}"
    one, two = await cluster.node(broker_away="queue"), await cluster.node()
    peers = [one.subscribe("topic=t"), two.subscribe("topic=t")]
    for number in range(50):
        one.hub.publish("t", str(number))
    await cluster.until(lambda: all(len(data_of(peer)) == 50 for peer in peers))
    await cluster.until(lambda: _offset(master) == _offset(replica))
    master.kill()
    await cluster.until(lambda: one.state is two.state is BrokerState.AWAY)
    for number in range(50, 100):
        one.hub.publish("t", str(number))
    await until_slowly(cluster, lambda: b"role:master" in info(replica))
    await until_slowly(cluster, lambda: one.state is two.state is BrokerState.READY)
    await cluster.until(lambda: all(data_of(peer)[-1:] == ["99"] for peer in peers))
    assert data_of(peers[0]) == data_of(peers[1]) == [str(number) for number in range(100)]
    assert events(peers[0]) == events(peers[1])

    master.start()  # with what it had, and as a master: it is not asked any more
    two.hub.publish("t", "and on")
    await cluster.until(lambda: all(data_of(peer)[-1] == "and on" for peer in peers))


def _offset(server: RedisProcess) -> bytes:
    return info(server).partition(b"master_repl_offset:")[2].partition(b"\r\n")[0]


async def until_slowly(cluster: Cluster, true: Callable[[], object]) -> None:
    """A sentinel takes its time."""
    for _ in range(4):
        try:
            return await cluster.until(true)
        except AssertionError:
            pass
    raise AssertionError("it did not become true")
