"""A hub whose keys are at a URL, as processes: a provider over TLS rotates them, and servers follow."""

from __future__ import annotations

import re
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests import twistd_process
from tests.certificates import Authority
from tests.sse.test_tokens import jwk_of, jwks, private_key
from tests.stores.redis_process import RedisProcess
from tests.test_restart import Line, is_gone, wait_until
from tests.test_workers import Parent
from tests.twistd_process import Server, ended_as_twistd_does

pytestmark = pytest.mark.slow

ES256 = "--mercure-publisher-algorithm=ES256"
HUB = "/.well-known/mercure"
IN_FORCE = re.compile(r"the keys of https://localhost:\d+ are in force: 1")


class Provider:
    """Publishes the keys of ``kids`` at ``url``, or says 500 where there are none."""

    def __init__(self, pem: Path) -> None:
        self.kids = ""
        self.asked = 0
        provider = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = jwks(*(jwk_of("ES256", ord(kid), kid=kid) for kid in provider.kids)).encode()
                self.send_response(200 if provider.kids else 500)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: Any) -> None:
                """The tests have nobody to read it."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = f"https://localhost:{self._http.server_address[1]}/jwks.json?sesame"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    authority = Authority(tmp_path)
    monkeypatch.setitem(twistd_process.ENVIRONMENT, "SSL_CERT_FILE", str(authority.path))
    provider = Provider(authority.issue("localhost").pem(tmp_path / "provider.pem"))
    yield provider
    provider.end()


@pytest.fixture
def begin(tmp_path: Path, provider: Provider) -> Iterator[Callable[..., Any]]:
    begun: list[Server] = []

    def begin(kind: type[Server], *options: str) -> Any:
        begun.append(kind(tmp_path, f"--mercure-publisher-key={provider.url}", ES256, "--anonymous", *options))
        return begun[-1]

    yield begin
    for server in begun:
        server.close()


def publish(server: Server, kid: str) -> int:
    """The status of an event published with a token by that key."""
    token = jwt.encode({"mercure": {"publish": ["*"]}}, private_key("ES256", ord(kid)), "ES256", {"kid": kid})
    form = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-www-form-urlencoded"}
    return server.get(HUB, "POST", b"topic=a&data=b", **form)[0]


def test_a_provider_rotates_its_keys(begin: Callable[..., Any], provider: Provider) -> None:
    server = begin(Server, "--admin=tcp:0:interface=127.0.0.1")
    server.wait_for(
        r"there are no keys of https://localhost:\d+: the answer is 500 and not 200; tokens are answered 503"
    )
    assert publish(server, "a") == 503
    assert int(server.headers["Retry-After"]) >= 1
    assert server.get("/")[0] == 200
    provider.kids = "a"
    wait_until(lambda: publish(server, "a") == 200, "no keys came")

    provider.kids = "b"
    assert publish(server, "b") == 401
    wait_until(lambda: publish(server, "b") == 200, "the new key did not come")
    assert publish(server, "a") == 401

    provider.kids = "ab"
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: publish(server, "a") == 200, "SIGHUP fetched nothing")
    assert publish(server, "b") == 200
    assert ended_as_twistd_does(server.stop())
    log = server.log.read_text("utf-8")
    assert "sesame" not in log
    assert "Traceback" not in log


def test_a_successor_waits_for_its_keys(begin: Callable[..., Any], provider: Provider) -> None:
    provider.kids = "a"
    server = begin(Server, "--admin=tcp:0:interface=127.0.0.1")
    wait_until(lambda: publish(server, "a") == 200, "no keys came")
    line = Line(server, server.process.pid)
    try:
        provider.kids, before = "", provider.asked
        line.signal()
        wait_until(lambda: provider.asked > before + 1, "the successor does not ask")
        assert publish(server, "a") == 200  # the one before serves on
        assert "is ready" not in line.log()
        provider.kids = "a"
        found = server.wait_for(r"a successor, process (\d+), is ready")
        line.pids.append(int(found[1]))
        assert {publish(server, "a") for _ in range(5)} == {200}
        assert ended_as_twistd_does(server.process.wait(twistd_process.PATIENCE_SECONDS))
    finally:
        line.end()
    wait_until(lambda: is_gone(int(found[1])), "the successor stays")


def test_each_worker_fetches_by_itself(begin: Callable[..., Any], provider: Provider, tmp_path: Path) -> None:
    provider.kids = "a"
    redis = RedisProcess(tmp_path)
    redis.start()
    try:
        parent = begin(Parent, f"--broker={redis.url}")
        wait_until(lambda: len(IN_FORCE.findall(parent.log.read_text("utf-8"))) == 2, "not all have keys")
        assert parent.asked("/readyz") is not None
        assert parent.status == 200
        assert {publish(parent, "a") for _ in range(20)} == {200}
        assert ended_as_twistd_does(parent.stop())
    finally:
        redis.kill()
    assert len(IN_FORCE.findall(parent.log.read_text("utf-8"))) == provider.asked == 2
