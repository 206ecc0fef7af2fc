"""The hub by its options: where it is mounted, and what is said of options that make no sense."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import jwt
import pytest
import treq
from pytest_twisted import ensureDeferred
from twisted.python.usage import UsageError
from twisted.web.resource import Resource

from hardhttp.ops.health import Health
from hardhttp.sse.remotekeys import Phase
from hardhttp.tap import makeService
from hardhttp.tap.hub import remote_keys
from hardhttp.tap.options import Options
from hardhttp.testing import Response, Rig
from tests.serving import serve
from tests.sse.test_tokens import jwk_of, jwks, private_key

SECRET = "a secret of more than thirty-two bytes, for tests"
KEY = f"--mercure-publisher-key={SECRET}"
JWKS = "https://id.example/.well-known/jwks.json"
URL = f"--mercure-publisher-key={JWKS}"
ES256 = "--mercure-publisher-algorithm=ES256"


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"the application at " + request.path


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(["--max-connections=100", *words])
    return options


def test_it_lies_over_whatever_is_served() -> None:
    options = parse(KEY, "--anonymous", "--max-topics=1")
    assert options.mercure is not None
    with Rig(options.around(Page())) as rig:

        def ask(path: str) -> tuple[int, bytes]:
            (response,) = rig.exchange(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            return response.status, response.body

        assert ask("/") == (200, b"the application at /")
        assert ask("/.well-known/acme")[1] == b"the application at /.well-known/acme"
        assert ask("/.well-known/mercure?topic=a&topic=b")[0] == 400
        assert ask("/.well-known/mercure")[0] == 400
        posted = b"POST /.well-known/mercure HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        assert rig.exchange(posted)[0].status == 401


def ask(options: Options, path: str, method: str = "GET") -> Response:
    with Rig(options.around(Page())) as rig:
        said = f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        peer = rig.connect()
        peer.send(said)
        return peer.responses(method.encode())[0]


UI = "/.well-known/mercure/ui"


def test_the_page_to_try_it() -> None:
    """It loads nothing from elsewhere, is put into no frame, and nothing in it is kept."""
    options = parse(KEY, "--anonymous", "--mercure-ui", "--security-headers", "--compress")
    page = ask(options, f"{UI}/")
    assert (page.status, page.get(b"content-type")) == (200, b"text/html; charset=utf-8")
    assert page.get(b"cache-control") == b"no-store"
    policy = page.get(b"content-security-policy") or b""
    rules = dict(rule.strip().partition(b" ")[::2] for rule in policy.split(b";"))
    assert rules[b"default-src"] == b"'none'"
    assert {rules[name] for name in (b"script-src", b"style-src", b"connect-src")} == {b"'self'"}
    assert {rules[name] for name in (b"frame-ancestors", b"base-uri", b"form-action")} == {b"'none'"}
    assert rules[b"require-trusted-types-for"] == b"'script'"
    assert rules[b"trusted-types"] == b"'none'"
    named = re.findall(rb'(?:href|src)="(?!data:)([^"]+)"', page.body)
    assert sorted(named) == [b"debug.css", b"debug.js"]
    for name in (*named, b"debugstream.js"):
        answer = ask(options, f"{UI}/{name.decode()}")
        assert answer.status == 200
        assert re.search(rb"https?://(?!example\.com|www\.w3\.org)", answer.body) is None
    assert ask(options, f"{UI}/", "HEAD").status == 200
    assert ask(options, f"{UI}/", "POST").status == 405
    assert [ask(options, f"{UI}{path}").status for path in ("/debug.html", "/debug.js/x", "/..", "x")] == [404] * 4


def test_the_page_has_its_own_slash() -> None:
    """Its files are named relative to it."""
    answer = ask(parse(KEY, "--anonymous", "--mercure-ui"), UI)
    assert (answer.status, answer.get(b"location")) == (302, b"ui/")


def test_the_page_is_not_there_unasked() -> None:
    assert ask(parse(KEY, "--anonymous"), f"{UI}/").status == 404


@pytest.mark.parametrize(("connections", "subscribers"), [(100, 90), (9, 8), (2, 1), (1, 1)])
def test_connections_are_left_to_tell_browsers_to_come_again(connections: int, subscribers: int) -> None:
    """Refused at its connection, an EventSource closes for good."""
    options = parse(KEY, "--anonymous", f"--max-connections={connections}")
    assert options.mercure is not None
    assert options.mercure.hub.max_subscribers == subscribers


def test_past_the_cap_a_subscriber_is_told_when_to_come_back() -> None:
    options = parse("--max-connections=2", KEY, "--anonymous")
    assert options.mercure is not None
    subscribe = b"GET /.well-known/mercure?topic=a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
    with Rig(options.around(Page())) as rig:
        first, second = rig.connect(), rig.connect()
        first.send(subscribe)
        second.send(subscribe)
        assert b"200 OK" in second.received
        assert b"retry: " in second.received
        assert (first.ended, second.ended) == (False, True)
        assert options.mercure.hub.refused == 1
        first.reset()


@pytest.mark.parametrize("text", [JWKS, "HTTPS://id.example", "env:THE_URL", "file:the.url", "http://127.0.0.1/keys"])
def test_keys_by_url(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("THE_URL", JWKS)
    Path("the.url").write_text(f"{JWKS}\n")
    options = parse(f"--mercure-publisher-key={text}", ES256, "--anonymous")
    (keys,) = remote_keys(options.mercure)
    host = "http://127.0.0.1" if "127" in text else "https://id.example"
    assert repr(keys) == f"<RemoteKeys ES256 of {host}: untried>"


def test_one_url_is_fetched_once_for_one_algorithm() -> None:
    both = [URL, ES256, f"--mercure-subscriber-key={JWKS}"]
    assert len(remote_keys(parse(*both, "--mercure-subscriber-algorithm=ES256").mercure)) == 1
    assert len(remote_keys(parse(*both, "--mercure-subscriber-algorithm=RS256").mercure)) == 2
    subscriber = [f"--mercure-subscriber-key={JWKS}", "--mercure-subscriber-algorithm=ES256"]
    assert len(remote_keys(parse(KEY, *subscriber).mercure)) == 1
    assert remote_keys(parse(KEY, "--anonymous").mercure) == []
    assert remote_keys(None) == []


def test_a_check_fetches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as provider:
        provider.setblocking(False)
        url = f"http://127.0.0.1:{provider.getsockname()[1]}/sesame"
        with pytest.raises(SystemExit):
            parse(f"--mercure-publisher-key={url}", ES256, "--anonymous", "--check")
        with pytest.raises(BlockingIOError):
            provider.accept()
    assert "sesame" not in capsys.readouterr().out


class Keys(Resource):
    """A provider, which publishes what ``document`` is, after ``refused`` answers that are none."""

    isLeaf = True
    document = b""
    refused = 0
    asked = 0

    def render_GET(self, request: Any) -> bytes:
        self.asked += 1
        if self.asked <= self.refused:
            request.setResponseCode(500)
        return self.document


@pytest.mark.slow
@ensureDeferred
async def test_a_service_fetches_from_its_start_to_its_stop() -> None:
    """At SIGHUP too. Until there are keys it serves, and says that it is not ready."""
    tree = Keys()
    tree.document, tree.refused = jwks(jwk_of("ES256", 1, kid="1")).encode(), 1
    listen = "--listen=tcp:0:interface=127.0.0.1"
    async with serve("fast", tree) as provider:
        options = parse(f"--mercure-publisher-key={provider.url}", ES256, "--anonymous", "--admin=none", listen)
        service: Any = makeService(options)
        (keys,) = remote_keys(options.mercure)
        health = Health(service.admin._sources, service.site.reactor)
        assert tree.asked == 0
        for tries in (2, 1):  # a service may be stopped and started again
            service.startService()
            await provider.wait_for(lambda: tree.asked == 1)
            if tries == 2:
                url = f"http://127.0.0.1:{service.ports[0].getHost().port}"
                assert (await treq.get(url, persistent=False)).code == 200
                assert (await health.ready()).problems[0].startswith(f"there are no keys of {provider.url}: ")
            await provider.wait_for(lambda wanted=tries: tree.asked == wanted and "fresh" in repr(keys))
            assert (await health.ready()).ready
            assert keys.verified(jwt.encode({}, private_key("ES256", 1), "ES256")) == b"{}"
            service._read_again()
            await provider.wait_for(lambda wanted=tries: tree.asked == wanted + 1)
            await service.stopService()
            tree.asked = tree.refused = 0


@ensureDeferred
async def test_a_service_that_stops_before_the_reactor_runs_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    options = parse(URL, ES256, "--anonymous", "--admin=none", "--listen=tcp:0:interface=127.0.0.1")
    service: Any = makeService(options)
    later: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(service.site.reactor, "callWhenRunning", lambda *call: later.append(call))
        service.startService()
    await service.stopService()
    ((act, start),) = [call for call in later if call[0] == service._when_running]
    act(start)
    assert repr(remote_keys(options.mercure)[0]).endswith("untried>")
    assert remote_keys(options.mercure)[0]._phase is Phase.IDLE


def test_without_a_key_there_is_none() -> None:
    assert parse().mercure is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--anonymous"], "--anonymous is for the hub, which --mercure-publisher-key turns on"),
        (["--subscriptions"], "--subscriptions is for the hub"),
        (["--mercure-ui"], "--mercure-ui is for the hub, which --mercure-publisher-key turns on"),
        (["--history=sqlite:events.db"], "--history is for the hub"),
        ([KEY], "nobody could subscribe: give --mercure-subscriber-key, or --anonymous"),
        ([KEY, "--mercure-publisher-algorithm=none"], "--mercure-publisher-key: "),
        ([KEY, "--mercure-publisher-algorithm=RS256"], "--mercure-publisher-key: "),
        (["--anonymous", URL], "--mercure-publisher-key: HS256 has one secret to sign and to verify"),
        (["--anonymous", URL, "--mercure-publisher-algorithm=none"], "--mercure-publisher-key: the algorithm of a"),
        (["--anonymous", URL.replace("//", "//me:sesame@"), ES256], "--mercure-publisher-key: the URL names a user"),
        (["--anonymous", URL.replace("https", "http"), ES256], "--mercure-publisher-key: the URL must be https"),
        ([KEY, f"--mercure-subscriber-key={JWKS}"], "--mercure-subscriber-key: HS256 has one secret"),
        (["--mercure-publisher-key=env:NO_SUCH_NAME"], "there is no NO_SUCH_NAME in the environment"),
        (["--broker=memory:"], "--broker is for the hub, which --mercure-publisher-key turns on"),
        (["--broker-away=queue"], "--broker-away queue is about the broker of --broker, and there is none"),
        ([KEY, "--anonymous", "--broker-away=queue"], "--broker-away queue is about the broker of --broker, and there"),
        (
            [KEY, "--anonymous", "--broker=memory:", "--broker-away=x"],
            "--broker-away is x; it must be refuse, queue or local",
        ),
        ([KEY, "--anonymous", "--broker=kafka:"], "--broker: that is no broker; it should be memory:, redis://"),
        ([KEY, "--anonymous", "--broker=memory:7"], "--broker: a broker in memory takes nothing behind memory:"),
        ([KEY, "--anonymous", "--broker=redis://h/x"], "--broker: the Redis URL's database is not a number"),
        ([KEY, "--anonymous", "--broker=env:NO_SUCH_NAME"], "--broker env:NO_SUCH_NAME: there is no NO_SUCH_NAME"),
        (
            [KEY, "--anonymous", "--broker=redis://h", "--history=sqlite:e.db"],
            "--broker keeps the history, for all processes: leave --history out",
        ),
        ([KEY, "--anonymous", "--history=redis:"], "--history is redis:; it must be memory: or sqlite:PATH"),
        ([KEY, "--anonymous", "--max-topics=0"], "--max-topics: 0 is out of bounds; it must be from 1 to 10,000"),
        ([KEY, "--anonymous", "--max-event-bytes=65MiB"], "it must be from 1 to 64MiB"),
        ([KEY, "--anonymous", "--max-event-bytes=3MiB"], "can be published: --max-form-bytes is 2MiB"),
        (
            [KEY, "--anonymous", "--max-event-bytes=11MiB", "--max-form-bytes=12MiB"],
            "can be published: --max-body-bytes is 10MiB",
        ),
        ([KEY, "--anonymous", "--heartbeat-seconds=0"], "it must be from 1 second to 7d, or none"),
        ([KEY, "--anonymous", "--subscription-seconds=soon"], "--subscription-seconds: "),
        ([KEY, "--anonymous", "--slow-subscribers=forget"], "it must be one of close, drop-oldest, latest, pause"),
        ([KEY, "--anonymous", "--publish-origins=app.example"], "the hub cannot be as asked for"),
        (["--mercure-audience=hub"], "--mercure-audience is for the hub, which --mercure-publisher-key turns on"),
        ([KEY, "--anonymous", "--mercure-cookie=a b"], "the hub cannot be as asked for: cookie is 'a b'"),
        ([KEY, "--anonymous", "--mercure-cookie="], "the hub cannot be as asked for: cookie is ''"),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("aud", "cookie", "expected"),
    [
        ("one", "__Secure-hub", 200),
        (["two", "one"], "__Secure-hub", 200),
        ("two", "__Secure-hub", 401),
        (None, "__Secure-hub", 401),
        ("one", "mercureAuthorization", 401),  # there is no token in it
    ],
    ids=str,
)
def test_hubs_of_one_domain_are_told_apart(aud: Any, cookie: str, expected: int) -> None:
    options = parse(
        *(KEY, f"--mercure-subscriber-key={SECRET}", "--mercure-audience=one", "--mercure-cookie=__Secure-hub")
    )
    claims = {"mercure": {"subscribe": ["*"]}} | ({} if aud is None else {"aud": aud})
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    with Rig(options.around(Page())) as rig:
        peer = rig.connect()
        asked = f"GET /.well-known/mercure?topic=a HTTP/1.1\r\nHost: a\r\nCookie: {cookie}={token}\r\n\r\n"
        peer.send(asked.encode())
        assert peer.received.startswith(f"HTTP/1.1 {expected} ".encode())
        peer.reset()


def test_how_subscribers_are_served() -> None:
    policies = "--slow-subscribers=pause https://example.com/{a,b}=latest now=drop-oldest"
    options = parse(KEY, "--anonymous", policies, "--heartbeat-seconds=none", "--subscription-seconds=1h")
    assert options.mercure is not None
    hub = options.mercure.hub
    assert hub._policy_of(("other",)) == "pause"
    assert hub._policy_of(("https://example.com/1,2",)) == "latest"
    assert hub._policy_of(("now",)) == "drop-oldest"
    assert (hub._heartbeat_seconds, hub._lifetime_seconds) == (None, 3600)


@pytest.mark.parametrize(("words", "coded"), [([], True), (["--uncompressed-events"], False)])
def test_streams_are_compressed(words: list[str], coded: bool) -> None:
    with Rig(parse(KEY, "--anonymous", *words).around(Page())) as rig:
        peer = rig.connect()
        peer.send(b"GET /.well-known/mercure?topic=a HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        assert (b"content-encoding: gzip" in peer.received.lower()) is coded
        peer.reset()


def test_a_key_from_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(f"{SECRET}\n")
    options = parse("--mercure-subscriber-key=file:key.txt")
    assert options.mercure is not None
    assert SECRET not in repr(vars(options.mercure))


@ensureDeferred
async def test_a_history_in_a_file(tmp_path: Path) -> None:
    options = parse(KEY, "--anonymous", "--history=sqlite:events.db")
    assert options.mercure is not None
    options.mercure.hub.publish("a", "kept")
    await options.mercure.hub.history.close()
    assert b"kept" in b"".join(path.read_bytes() for path in tmp_path.glob("events.db*"))


def test_scripts_of_other_origins_see_where_a_stream_begins() -> None:
    request = b"GET /.well-known/mercure HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n\r\n"
    for words, seen in (([KEY, "--anonymous"], b"Last-Event-ID, Link"), ([], None)):
        with Rig(parse(*words, "--cors-origins=https://app.example").around(Page())) as rig:
            (response,) = rig.exchange(request)
            assert dict(response.headers).get(b"access-control-expose-headers") == seen


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_browser_that_asks_first_may_send_what_a_client_of_a_hub_sends(method: str) -> None:
    """Before a reconnect with an id of other bytes than the safe ones, and before a POST with a token (Fetch, 4.8)."""
    asked = "authorization,cache-control,last-event-id"
    preflight = (
        "OPTIONS /.well-known/mercure?topic=a HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n"
        f"Access-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: {asked}\r\n\r\n"
    )
    with Rig(parse(KEY, "--anonymous", "--cors-origins=https://app.example").around(Page())) as rig:
        (response,) = rig.exchange(preflight.encode())
        assert response.status == 204
        assert response.get(b"access-control-allow-origin") == b"https://app.example"
        allowed = response.get(b"access-control-allow-headers").decode().lower().split(", ")
        assert set(asked.split(",")) <= set(allowed)
        assert method in response.get(b"access-control-allow-methods").decode().split(", ")


def test_events_are_as_large_as_forms_may_be() -> None:
    for words in (["--max-event-bytes=2MiB"], ["--max-form-bytes=1KiB"]):
        assert parse(KEY, "--anonymous", *words).mercure is not None


@ensureDeferred
async def test_a_broker_by_its_url_or_where_that_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "redis://:a%20secret@127.0.0.1:1/3"
    (tmp_path / "url").write_text(url + "\n")
    monkeypatch.setenv("BROKER", url)
    for given in (url, "file:url", "env:BROKER"):
        options = parse(KEY, "--anonymous", f"--broker={given}", "--broker-away=queue")
        assert options.mercure is not None
        hub = options.mercure.hub
        assert hub.broker_state == "connecting"
        assert repr(hub._brokered.broker) == "<RedisBroker redis://127.0.0.1:1/3, connecting>"
        assert hub._brokered.outbox.away == "queue"
        await hub.stop()


@ensureDeferred
async def test_a_broker_in_memory() -> None:
    options = parse(KEY, "--anonymous", "--subscriptions", "--broker=memory:")
    assert options.mercure is not None
    assert options.mercure.hub.broker_state == "connecting"
    await options.mercure.hub.stop()


def test_no_broker() -> None:
    options = parse(KEY, "--anonymous")
    assert options.mercure is not None
    assert options.mercure.hub.broker_state is None
