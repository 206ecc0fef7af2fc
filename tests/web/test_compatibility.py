"""What was written for ``twisted.web``, unmodified, under ``hardhttp.Site``.

Each test runs the real thing over real sockets, on our port and on the reactor's own, and when it
ends every connection must be gone and the ledger as it was (see ``tests.serving``).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault as XMLRPCFault
from xmlrpc.client import ServerProxy

import pytest
from autobahn.twisted.resource import WebSocketResource as AutobahnResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from flask import Flask, Response
from flask import request as flask_request
from klein import Klein
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.twisted import MetricsResource
from pytest_twisted import ensureDeferred
from twisted.application import strports
from twisted.application.internet import StreamServerEndpointService
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.web import distrib, guard, http, resource, server, static, twcgi, util, vhost, xmlrpc
from twisted.web import websocket as twisted_websocket
from twisted.web.proxy import ReverseProxyResource
from twisted.web.template import Element, XMLString, renderElement, renderer
from twisted.web.wsgi import WSGIResource
from zope.interface import implementer

import hardhttp
from hardhttp import Limits, Site
from tests.listening import free_port
from tests.serving import KINDS, Serving, serve

Run = Callable[..., AbstractAsyncContextManager[Serving]]


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest) -> Run:
    """Makes a site on each kind of port."""
    return partial(serve, request.param)


class Page(resource.Resource):
    """A leaf that says ``said``, a function of the request."""

    isLeaf = True

    def __init__(self, said: Callable[[Any], Any]) -> None:
        super().__init__()
        self.render_GET = self.render_POST = said


# -- files -------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_bytes(b"<p>index")
    (tmp_path / "digits.txt").write_bytes(b"0123456789")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "large.bin").write_bytes(os.urandom(1 << 20) * 4)
    listed = tmp_path / "listed"
    listed.mkdir()
    (listed / "one.txt").write_bytes(b"one")
    return tmp_path


@ensureDeferred
async def test_static_files(run: Run, tree: Path) -> None:
    async with run(static.File(str(tree))) as site:
        assert (await site.ask("/")).body == b"<p>index"
        digits = await site.ask("/digits.txt")
        assert (digits.status, digits.body) == (200, b"0123456789")
        assert digits.headers["content-type"] == "text/plain"
        assert digits.headers["accept-ranges"] == "bytes"
        unmodified = await site.ask("/digits.txt", If_Modified_Since=digits.headers["last-modified"])
        assert (unmodified.status, unmodified.body) == (304, b"")
        head = await site.ask("/digits.txt", "HEAD")
        assert (head.status, head.headers["content-length"], head.body) == (200, "10", b"")
        empty = await site.ask("/empty")
        assert (empty.status, empty.headers["content-length"], empty.body) == (200, "0", b"")
        assert b"one.txt" in (await site.ask("/listed/")).body
        moved = await site.ask("/listed")
        assert (moved.status, moved.headers["location"]) == (302, "/listed/")
        assert (await site.ask("/nothing")).status == 404
        assert (await site.ask("/../../etc/passwd")).status == 404
        assert (await site.ask("/digits.txt", "POST", b"x")).status == 405


@ensureDeferred
async def test_static_ranges(run: Run, tree: Path) -> None:
    async with run(static.File(str(tree))) as site:
        middle = await site.ask("/digits.txt", Range="bytes=2-5")
        assert (middle.status, middle.body, middle.headers["content-range"]) == (206, b"2345", "bytes 2-5/10")
        tail = await site.ask("/digits.txt", Range="bytes=-3")
        assert (tail.status, tail.body) == (206, b"789")
        beyond = await site.ask("/digits.txt", Range="bytes=10-")
        assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")
        several = await site.ask("/digits.txt", Range="bytes=0-1,8-9")
        assert several.status == 206
        assert re.findall(rb"\r\n\r\n(\d+)\r\n", several.body) == [b"01", b"89"]


@ensureDeferred
async def test_a_large_static_file_comes_by_its_pull_producer(run: Run, tree: Path) -> None:
    """Kept alive: the same connection goes on after a produced response."""
    large = (tree / "large.bin").read_bytes()

    async with run(static.File(str(tree))) as site:
        client = site.connect()
        for _ in range(2):
            answer = await deferToThread(site.ask_on, client, "GET", "/large.bin", None, {})
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(large).digest()
        assert site.site.statistics.accepted == 1
        client.close()


@ensureDeferred
async def test_a_file_whose_client_leaves_is_closed(run: Run, tree: Path) -> None:
    async with run(static.File(str(tree))) as site:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await site.say(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n", until=lambda got: len(got) > 1000)
        await site.wait_for(lambda: not site.site.connection_count)
        await site.wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before, "the files' end")


# -- trees -------------------------------------------------------------------------------------


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatar: bytes, mind: object, *interfaces: Any) -> Any:
        return resource.IResource, Page(lambda request: b"for " + avatar), lambda: None


@pytest.mark.parametrize("scheme", ["basic", "digest"])
@ensureDeferred
async def test_guard(run: Run, scheme: str) -> None:
    checker = InMemoryUsernamePasswordDatabaseDontUse(anna=b"secret")
    factory = (
        guard.BasicCredentialFactory("shop") if scheme == "basic" else guard.DigestCredentialFactory("md5", b"shop")
    )
    wrapper = guard.HTTPAuthSessionWrapper(Portal(Realm(), [checker]), [factory])

    async with run(wrapper) as site:
        refused = await site.ask("/")
        assert refused.status == 401
        challenge = refused.headers["www-authenticate"]
        assert challenge.startswith(scheme)
        if scheme == "basic":
            token = base64.b64encode(b"anna:secret").decode()
            wrong = await site.ask("/", Authorization="Basic " + base64.b64encode(b"anna:no").decode())
            assert wrong.status == 401
            authorization = f"Basic {token}"
        else:
            authorization = digest_answer(challenge)
        assert (await site.ask("/", Authorization=authorization)).body == b"for anna"


def digest_answer(challenge: str) -> str:
    """RFC 2617, 3.2.2, with a quality of protection."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    secret, asked = md5(f"anna:{fields['realm']}:secret"), md5("GET:/")
    response = md5(f"{secret}:{fields['nonce']}:00000001:abc:auth:{asked}")
    return (
        f'Digest username="anna", realm="{fields["realm"]}", nonce="{fields["nonce"]}", uri="/", qop=auth, '
        f'nc=00000001, cnonce="abc", response="{response}", opaque="{fields["opaque"]}", algorithm="md5"'
    )


@ensureDeferred
async def test_virtual_hosts(run: Run) -> None:
    hosts = vhost.NameVirtualHost()
    hosts.default = Page(lambda request: b"default")
    hosts.addHost(b"a.example", Page(lambda request: b"a of " + request.getRequestHostname()))
    hosts.addHost(b"b.example", static.Data(b"b", "text/plain"))

    async with run(hosts) as site:
        assert (await site.ask("/", Host="a.example")).body == b"a of a.example"
        assert (await site.ask("/", Host="A.example:8080")).body == b"a of A.example"
        assert (await site.ask("/", Host="b.example")).status == 404  # Data is a leaf only at the path's end
        assert (await site.ask("/", Host="c.example")).body == b"default"


@ensureDeferred
async def test_error_pages_redirects_and_children(run: Run) -> None:
    root = resource.Resource()
    root.putChild(b"moved", Page(lambda request: util.redirectTo(b"/there?a=b", request)))
    root.putChild(b"parent", Page(lambda request: request.prePathURL() + b" " + request.childLink(b"c")))
    root.putChild(b"redirect", util.Redirect(b"/elsewhere"))
    root.putChild(b"alone", util.ParentRedirect())

    async with run(root) as site:
        moved = await site.ask("/moved")
        assert (moved.status, moved.headers["location"]) == (302, "/there?a=b")
        assert b"/there?a=b" in moved.body
        assert (await site.ask("/redirect")).headers["location"] == "/elsewhere"
        assert (await site.ask("/parent/x/y")).body == site.url.encode() + b"/parent ../c"
        lost = await site.ask("/nothing/here")
        assert lost.status == 404
        assert b"404 Not Found" in lost.body
        assert (await site.ask("/alone")).status == 302


@ensureDeferred
async def test_a_resource_that_comes_later(run: Run) -> None:
    class Root(resource.Resource):
        def getChild(self, name: bytes, request: Any) -> Any:
            if name == b"never":
                return util.DeferredResource(deferLater(reactor, 0, self.fail))
            return util.DeferredResource(deferLater(reactor, 0, lambda: Page(lambda request: b"found " + name)))

        def fail(self) -> None:
            raise LookupError("no such thing")

    async with run(Root()) as site:
        assert (await site.ask("/a")).body == b"found a"
        with Failures() as failures:
            answer = await site.ask("/never")
        assert (answer.status, len(failures)) == (500, 1)


class Failures(list[Any]):
    """The failures logged while it is open."""

    def __enter__(self) -> Failures:
        globalLogPublisher.addObserver(self.see)
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self.see)

    def see(self, event: dict[str, Any]) -> None:
        if event.get("log_failure") is not None:
            self.append(event["log_failure"])


@ensureDeferred
async def test_templates(run: Run) -> None:
    class Greeting(Element):
        loader = XMLString(
            '<p xmlns:t="http://twistedmatrix.com/ns/twisted.web.template/0.1">Hello <b t:render="name"/></p>'
        )

        @renderer
        def name(self, request: Any, tag: Any) -> Any:
            found: Deferred[Any] = deferLater(reactor, 0, lambda: tag(request.args[b"name"][0].decode()))
            return found

        @renderer
        def broken(self, request: Any, tag: Any) -> Any:
            raise RuntimeError("no name")

    class Broken(Greeting):
        loader = XMLString(
            '<p xmlns:t="http://twistedmatrix.com/ns/twisted.web.template/0.1"><b t:render="broken"/></p>'
        )

    root = resource.Resource()
    root.putChild(b"hello", Page(lambda request: renderElement(request, Greeting())))
    root.putChild(b"broken", Page(lambda request: renderElement(request, Broken())))

    async with run(root) as site:
        hello = await site.ask("/hello?name=a%3Cb")
        assert hello.body == b"<!DOCTYPE html>\n<p>Hello <b>a&lt;b</b></p>"
        with Failures() as failures:
            broken = await site.ask("/broken")
        assert (broken.status, len(failures)) == (200, 1)  # its head had gone when it failed
        assert b"An error occurred while rendering the response" in broken.body


@pytest.mark.parametrize("asynchronous", [False, True])
@ensureDeferred
async def test_gzip(run: Run, asynchronous: bool) -> None:
    text = b"a text that repeats itself. " * 1000

    def say(request: Any) -> Any:
        if not asynchronous:
            return text
        for i in range(0, len(text), 5000):
            reactor.callLater(0, request.write, text[i : i + 5000])
        reactor.callLater(0, request.finish)
        return server.NOT_DONE_YET

    wrapped = resource.EncodingResourceWrapper(Page(say), [server.GzipEncoderFactory()])

    async with run(wrapped) as site:
        plain = await site.ask("/")
        assert plain.body == text
        assert "content-encoding" not in plain.headers
        packed = await site.ask("/", Accept_Encoding="gzip")
        assert packed.headers["content-encoding"] == "gzip"
        assert len(packed.body) < len(text) / 10
        assert gzip.decompress(packed.body) == text
        head = await site.ask("/", "HEAD", Accept_Encoding="gzip")
        assert (head.status, head.body) == (200, b"")


# -- applications of other kinds ---------------------------------------------------------------


def flask_application() -> Flask:
    app = Flask("shop")

    @app.route("/")
    def hello() -> str:
        return "hello " + flask_request.args.get("name", "you")

    @app.route("/form", methods=["POST"])
    def form() -> dict[str, Any]:
        return {"fields": flask_request.form.to_dict(), "type": flask_request.mimetype}

    @app.route("/upload", methods=["POST"])
    def upload() -> dict[str, Any]:
        file = flask_request.files["file"]
        return {"name": file.filename, "sha256": hashlib.sha256(file.read()).hexdigest()}

    @app.route("/stream")
    def stream() -> Response:
        return Response((f"line {i}\n" for i in range(1000)), mimetype="text/plain")

    @app.route("/cookie")
    def cookie() -> Response:
        response = Response(status=204)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    @app.route("/broken")
    def broken() -> str:
        raise RuntimeError("an application's fault")

    return app


@pytest.fixture
def threads() -> Any:
    pool = ThreadPool(0, 4, "wsgi")
    pool.start()
    yield pool
    pool.stop()


def multipart(*parts: tuple[str, str, bytes]) -> tuple[bytes, str]:
    """A form of (name, file name or nothing, content), and its Content-Type."""
    lines = []
    for name, filename, content in parts:
        said = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        lines.append(b"--limit\r\n" + said.encode() + b"\r\n\r\n" + content + b"\r\n")
    return b"".join(lines) + b"--limit--\r\n", "multipart/form-data; boundary=limit"


@ensureDeferred
async def test_flask_under_wsgi(run: Run, threads: ThreadPool) -> None:
    app = flask_application()
    app.logger.disabled = True

    async with run(WSGIResource(reactor, threads, app)) as site:
        assert (await site.ask("/?name=anna")).body == b"hello anna"
        head = await site.ask("/", "HEAD")
        assert (head.headers["content-length"], head.body) == ("9", b"")
        form = await site.ask("/form", "POST", b"a=1&b=%C3%BC", Content_Type="application/x-www-form-urlencoded")
        assert json.loads(form.body) == {
            "fields": {"a": "1", "b": "\u00fc"},
            "type": "application/x-www-form-urlencoded",
        }
        large = os.urandom(1 << 20)  # past spool_bytes: from a temporary file
        body, kind = multipart(("file", "large.bin", large))
        uploaded = json.loads((await site.ask("/upload", "POST", body, Content_Type=kind)).body)
        assert uploaded == {"name": "large.bin", "sha256": hashlib.sha256(large).hexdigest()}
        stream = await site.ask("/stream")
        assert stream.headers["transfer-encoding"] == "chunked"
        assert stream.body == b"".join(b"line %d\n" % i for i in range(1000))
        cookie = await site.ask("/cookie")
        assert (cookie.status, len(cookie.cookies)) == (204, 2)
        assert (await site.ask("/broken")).status == 500
        assert (await site.ask("/nothing")).status == 404
        # A client that leaves while the application answers.
        await site.say(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", until=lambda got: b"line 1" in got)


@ensureDeferred
async def test_a_reverse_proxy(run: Run) -> None:
    """To a backend that is a site of ours too, on the reactor's own port."""
    seen: list[tuple[bytes, bytes]] = []

    def echo(request: Any) -> Any:
        seen.append((request.uri, request.content.read()))
        if request.path.endswith(b"/chunked"):
            request.write(b"piece one, ")
            reactor.callLater(0.01, request.write, b"piece two")
            reactor.callLater(0.02, request.finish)
            return server.NOT_DONE_YET
        request.setHeader(b"X-Backend", b"yes")
        return b"whole"

    async with serve("plain", Page(echo)) as backend, run(proxy_to(backend.port)) as site:
        client = site.connect()
        ask = partial(deferToThread, site.ask_on, client)
        whole = await ask("GET", "/a/b?c=d", None, {})
        assert (whole.status, whole.body, whole.headers["x-backend"]) == (200, b"whole", "yes")
        posted = await ask("POST", "/a", b"x" * 100_000, {})
        assert posted.body == b"whole"
        streamed = await ask("GET", "/chunked", None, {})
        assert (streamed.body, streamed.headers["transfer-encoding"]) == (b"piece one, piece two", "chunked")
        assert seen == [(b"/base/a/b?c=d", b""), (b"/base/a", b"x" * 100_000), (b"/base/chunked", b"")]
        client.close()


@ensureDeferred
async def test_a_reverse_proxy_whose_backend_is_away(run: Run) -> None:
    async with run(proxy_to(free_port())) as site:
        answer = await site.ask("/a")
        assert (answer.status, answer.body) == (501, b"<H1>Could not connect</H1>")


def proxy_to(port: int) -> ReverseProxyResource:
    return ReverseProxyResource("127.0.0.1", port, b"/base")


@ensureDeferred
async def test_xmlrpc(run: Run) -> None:
    class Calculator(xmlrpc.XMLRPC):
        def xmlrpc_add(self, a: int, b: int) -> int:
            return a + b

        def xmlrpc_later(self, a: int) -> Deferred[int]:
            return deferLater(reactor, 0, lambda: a)

        def xmlrpc_fault(self) -> None:
            raise xmlrpc.Fault(7, "on purpose")

    def use_proxy(url: str) -> None:
        with ServerProxy(url) as proxy:
            assert proxy.add(2, 3) == 5
            assert proxy.later("x" * 10_000) == "x" * 10_000
            with pytest.raises(XMLRPCFault) as raised:
                proxy.fault()
            assert raised.value.faultCode == 7

    async with run(Calculator()) as site:
        await deferToThread(use_proxy, site.url)


@ensureDeferred
async def test_a_metrics_resource(run: Run) -> None:
    registry = CollectorRegistry()
    Counter("visits", "Visits.", registry=registry).inc(3)

    root = resource.Resource()
    root.putChild(b"metrics", MetricsResource(registry))
    async with run(root) as site:
        metrics = await site.ask("/metrics?name[]=visits_total")
        assert b"visits_total 3.0" in metrics.body
        assert metrics.headers["content-type"].startswith("text/plain")


def klein_application() -> Klein:
    app = Klein()

    @app.route("/")
    def hello(request: Any) -> str:
        return "hello"

    @app.route("/deferred/<name>")
    def deferred(request: Any, name: str) -> Any:
        return deferLater(reactor, 0, lambda: f"later {name}")

    @app.route("/async")
    async def asynchronous(request: Any) -> bytes:
        await deferLater(reactor, 0)
        return b"awaited"

    @app.route("/form", methods=["POST"])
    def form(request: Any) -> bytes:
        return b",".join(request.args[b"a"])

    @app.route("/stream")
    async def stream(request: Any) -> None:
        for i in range(3):
            request.write(b"piece %d\n" % i)
            await deferLater(reactor, 0)

    @app.route("/produced")
    def produced(request: Any) -> Any:
        return static.File(__file__)

    @app.route("/branch/", branch=True)
    def branch(request: Any) -> Any:
        return Page(lambda request: b"/".join(request.postpath))

    @app.route("/broken")
    def broken(request: Any) -> str:
        raise LookupError("in the application")

    @app.route("/worse")
    def worse(request: Any) -> str:
        raise RuntimeError("in the application")

    @app.handle_errors(LookupError)
    def handled(request: Any, failure: Any) -> str:
        request.setResponseCode(418)
        return "handled"

    return app


@ensureDeferred
async def test_klein(run: Run) -> None:
    async with run(klein_application().resource()) as site:
        assert (await site.ask("/")).body == b"hello"
        head = await site.ask("/", "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert (await site.ask("/deferred/%C3%BC")).body == "later \u00fc".encode()
        assert (await site.ask("/async")).body == b"awaited"
        form = await site.ask("/form", "POST", b"a=1&a=2", Content_Type="application/x-www-form-urlencoded")
        assert form.body == b"1,2"
        stream = await site.ask("/stream")
        assert (stream.body, stream.headers["transfer-encoding"]) == (b"piece 0\npiece 1\npiece 2\n", "chunked")
        assert (await site.ask("/produced")).body == Path(__file__).read_bytes()
        assert (await site.ask("/branch/a/b")).body == b"a/b"
        assert (await site.ask("/nothing")).status == 404
        assert (await site.ask("/form")).status == 405
        broken = await site.ask("/broken")
        assert (broken.status, broken.body) == (418, b"handled")
        with Failures() as failures:
            assert (await site.ask("/worse")).status == 500
        assert any(failure.check(RuntimeError) for failure in failures)


@ensureDeferred
async def test_cgi(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "hello.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys
            print("Content-Type: text/plain")
            print("Status: 201 Created")
            print()
            print(os.environ["REQUEST_METHOD"], os.environ["QUERY_STRING"], sys.stdin.read(), end="")
            """
        )
    )

    root = resource.Resource()
    root.putChild(b"hello", twcgi.FilteredScript(str(script)))
    root.children[b"hello"].filter = sys.executable
    async with run(root) as site:
        answer = await site.ask("/hello?a=b", "POST", b"the body", Content_Type="text/plain")
        assert (answer.status, answer.body) == (201, b"POST a=b the body")


@ensureDeferred
async def test_distributed(run: Run, tmp_path: Path) -> None:
    """A site whose tree lives behind a Unix socket."""
    path = str(tmp_path / "pb")

    class Back(resource.Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> Any:
            request.setHeader("x-back", "yes")
            return b"from the back, " + request.args[b"a"][0] + b" for " + request.getHeader(b"x-who")

        def render_POST(self, request: Any) -> Any:
            return b"%d bytes" % len(request.content.read())

    from twisted.spread import pb

    root = resource.Resource()
    root.putChild(b"x", Back())
    back = pb.PBServerFactory(distrib.ResourcePublisher(Site(root, reactor=reactor)))
    port = reactor.listenUNIX(path, back)
    subscription = distrib.ResourceSubscription("unix", path)

    async with run(subscription) as site:
        answer = await site.ask("/x?a=b", X_Who="anna")
        assert (answer.body, answer.headers["x-back"]) == (b"from the back, b for anna", "yes")
        assert (await site.ask("/x", "POST", b"y" * 1000)).body == b"1000 bytes"
        answer = await site.ask("/not-there")
        assert (answer.status, b"No Such Resource" in answer.body) == (404, True)
        subscription.publisher.broker.transport.loseConnection()
        await port.stopListening()
        await deferLater(reactor, 0.02)


# -- sessions ----------------------------------------------------------------------------------


@ensureDeferred
async def test_sessions(run: Run) -> None:
    def count(request: Any) -> bytes:
        session = request.getSession()
        session.visits = getattr(session, "visits", 0) + 1
        return b"%d" % session.visits

    async with run(Page(count)) as site:
        first = await site.ask("/")
        (cookie,) = first.cookies
        pair = cookie.partition(";")[0]
        assert pair.startswith("session=")
        assert (await site.ask("/", Cookie=pair)).body == b"2"
        assert (await site.ask("/", Cookie=f"other=x; {pair}")).body == b"3"
        other = await site.ask("/", Cookie=f"session={'m' * 43}")
        assert (other.body, len(other.cookies)) == (b"1", 1)
        (session,) = [s for s in site.site.sessions.values() if s.uid.decode() == pair.partition("=")[2]]
        expired: list[None] = []
        session.notifyOnExpire(lambda: expired.append(None))
        session.expire()
        assert expired == [None]
        renewed = await site.ask("/", Cookie=pair)
        assert (renewed.body, len(renewed.cookies)) == (b"1", 1)


# -- WebSockets --------------------------------------------------------------------------------


class WebSocketClient:
    """A blocking client that sends and shows frames as they are (RFC 6455, 5.2)."""

    def __init__(self, port: int, path: str = "/ws") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        self.head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")

    def fill(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + size.to_bytes(2, "big")
        mask = b"\x01\x02\x03\x04"
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.socket.sendall(bytes([0x80 | opcode]) + length + mask + masked)

    def take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.fill()
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def receive(self) -> tuple[int, bytes]:
        first, second = self.take(2)
        size = int.from_bytes(self.take(2), "big") if second == 126 else second
        return first & 0x0F, self.take(size)

    def at_end(self) -> bool:
        try:
            return not self.buffer and not self.socket.recv(1)
        except ConnectionResetError:
            return True


def converse(port: int) -> None:
    client = WebSocketClient(port)
    assert client.head.startswith(b"HTTP/1.1 101 ")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in client.head
    client.send(1, "text \u00fc".encode())
    assert client.receive() == (1, "text \u00fc".encode())
    client.send(2, bytes(range(256)) * 20)
    assert client.receive() == (2, bytes(range(256)) * 20)
    client.send(9, b"ping")
    assert client.receive() == (10, b"ping")
    client.send(8, (1000).to_bytes(2, "big") + b"bye")
    opcode, payload = client.receive()
    assert (opcode, payload[:2]) == (8, (1000).to_bytes(2, "big"))
    assert client.at_end()
    client.socket.close()


def leave_abruptly(port: int) -> None:
    client = WebSocketClient(port)
    client.send(1, b"once")
    client.receive()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.socket.close()


class TwistedEcho:
    lost: list[Any] = []

    @classmethod
    def buildProtocol(cls, request: Any) -> TwistedEcho:
        return cls()

    def negotiationStarted(self, transport: Any) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None: ...

    def textMessageReceived(self, text: str) -> None:
        self.transport.sendTextMessage(text)

    def bytesMessageReceived(self, data: bytes) -> None:
        self.transport.sendBytesMessage(data)

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason)


class AutobahnEcho(WebSocketServerProtocol):
    lost: list[Any] = []

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.lost.append((wasClean, code))


def twisted_websocket_resource() -> Any:
    root = resource.Resource()
    root.putChild(b"ws", twisted_websocket.WebSocketResource(TwistedEcho))
    return root


def autobahn_resource() -> Any:
    factory = WebSocketServerFactory()
    factory.protocol = AutobahnEcho
    factory.startFactory()
    root = resource.Resource()
    root.putChild(b"ws", AutobahnResource(factory))
    return root


@pytest.mark.parametrize(
    ("make", "echo"), [(twisted_websocket_resource, TwistedEcho), (autobahn_resource, AutobahnEcho)]
)
@ensureDeferred
async def test_websockets(run: Run, make: Callable[[], Any], echo: Any) -> None:
    async with run(make()) as site:
        echo.lost = []
        await deferToThread(converse, site.port)
        await site.wait_for(lambda: len(echo.lost) == 1)
        await deferToThread(leave_abruptly, site.port)
        await site.wait_for(lambda: len(echo.lost) == 2)
        await site.wait_for(lambda: not site.site.connection_count, "the tracker's last entry's end")
        assert (await site.ask("/ws")).body != b""
        assert site.site.connection_count <= 1


# -- request factories -------------------------------------------------------------------------


class Ours(hardhttp.Request):
    """A subclass of ours that watches what goes out."""

    def process(self) -> None:
        self.calls = ["process"]
        self.setHeader(b"X-Seen", b"yes")
        super().process()

    def write(self, data: bytes) -> None:
        self.calls.append("write")
        super().write(data.upper())

    def finish(self) -> None:
        self.calls.append("finish")
        super().finish()


class Theirs(server.Request):
    """The same, of ``twisted.web``'s."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.setHeader(b"X-Born", b"yes")

    def process(self) -> None:
        self.calls = ["process"]
        self.setHeader(b"X-Seen", b"yes")
        super().process()

    def write(self, data: bytes) -> None:
        self.calls.append("write")
        super().write(data.upper())

    def finish(self) -> None:
        self.calls.append("finish")
        super().finish()


class Explicit(server.Request):
    """The same, with each call of the base written out."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        server.Request.__init__(self, *args, **kw)
        self.setHeader(b"X-Born", b"yes")
        self.addCookie("born", "yes")

    def process(self) -> None:
        self.calls = ["process"]
        self.setHeader(b"X-Seen", b"yes")
        server.Request.process(self)

    def write(self, data: bytes) -> None:
        self.calls.append("write")
        server.Request.write(self, data.upper())

    def finish(self) -> None:
        self.calls.append("finish")
        server.Request.finish(self)


def ways_to_answer(seen: list[Any]) -> resource.Resource:
    """A tree of ways to answer, each of which notes its request."""

    def noted(say: Callable[[Any], Any]) -> Page:
        def render(request: Any) -> Any:
            seen.append(request)
            return say(request)

        return Page(render)

    def later(request: Any) -> Any:
        request.write(b"in ")
        reactor.callLater(0, request.write, b"pieces")
        reactor.callLater(0, request.finish)
        return server.NOT_DONE_YET

    def broken(request: Any) -> Any:
        raise LookupError("on purpose")

    root = resource.Resource()
    root.putChild(b"whole", noted(lambda request: b"whole " + request.args.get(b"a", [b"-"])[0]))
    root.putChild(b"later", noted(later))
    root.putChild(b"empty", noted(lambda request: b""))
    root.putChild(b"broken", noted(broken))
    root.putChild(b"deferred", noted(lambda request: succeed(b"deferred")))
    root.putChild(b"posted", noted(lambda request: request.content.read()))
    root.putChild(b"file", static.File(__file__))
    return root


@pytest.mark.parametrize("factory", [Ours, Theirs, Explicit])
@ensureDeferred
async def test_a_request_factory(run: Run, factory: Any) -> None:
    seen: list[Any] = []
    async with run(ways_to_answer(seen), requestFactory=factory) as site:
        client = site.connect()
        ask = partial(deferToThread, site.ask_on, client)
        for _ in range(2):  # kept alive
            whole = await ask("GET", "/whole?a=b", None, {})
            assert (whole.status, whole.body) == (200, b"WHOLE B")
            assert whole.headers["x-seen"] == "yes"
            assert whole.headers["content-length"] == "7"
            assert whole.headers["content-type"] == "text/html"
            if factory is not Ours:
                assert whole.headers["x-born"] == "yes"
            assert len(whole.cookies) == (factory is Explicit)
        assert (await ask("GET", "/later", None, {})).body == b"IN PIECES"
        head = await ask("HEAD", "/whole", None, {})
        assert (head.status, head.headers["content-length"], head.body) == (200, "7", b"")
        empty = await ask("GET", "/empty", None, {})
        assert (empty.status, empty.body) == (200, b"")
        assert (await ask("POST", "/posted", b"body", {})).body == b"BODY"
        form = await ask("POST", "/whole", b"a=c", {"Content-Type": "application/x-www-form-urlencoded"})
        assert form.body == b"WHOLE C"
        assert (await ask("GET", "/nothing", None, {})).status == 404
        assert (await ask("GET", "/file", None, {})).body == Path(__file__).read_bytes().upper()
        with Failures() as failures:
            broken = await ask("GET", "/broken", None, {})
        assert (broken.status, len(failures)) == (500, 1)
        if factory is not Explicit:  # twisted.web knows nothing of other results than bytes
            assert (await ask("GET", "/deferred", None, {})).body == b"DEFERRED"
        client.close()
        assert site.site.statistics.accepted == 1
        for request in seen:
            assert isinstance(request, (server.Request, hardhttp.Request))
            assert request.calls[0] == "process"
            assert request.calls[-1] == "finish"
            assert "write" in request.calls


class Noting:
    """Notes what is told of a message before ``process``, and serves another path than was asked for."""

    def handleContentChunk(self: Any, data: bytes) -> None:
        self.noted = [*getattr(self, "noted", ()), data]
        super().handleContentChunk(data)  # type: ignore[misc]

    def requestReceived(self: Any, command: bytes, path: bytes, version: bytes) -> None:
        self.setHeader(b"X-Received", b" ".join([command, version, b"%d" % self.content.tell()]))
        super().requestReceived(command, path.replace(b"/old", b"/new"), version)  # type: ignore[misc]


class NotingOurs(Noting, hardhttp.Request):
    pass


class NotingTheirs(Noting, server.Request):
    pass


class NotingExplicit(server.Request):
    def handleContentChunk(self, data: bytes) -> None:
        self.noted = [*getattr(self, "noted", ()), data]
        server.Request.handleContentChunk(self, data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.setHeader(b"X-Received", b" ".join([command, version, b"%d" % self.content.tell()]))
        server.Request.requestReceived(self, command, path.replace(b"/old", b"/new"), version)


class NotingAlone(NotingExplicit):
    """It does all that ``twisted.web``'s does, by itself."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.setHeader(b"X-Received", b" ".join([command, version, b"%d" % self.content.tell()]))
        self.content.seek(0)
        self.path, _, query = path.replace(b"/old", b"/new").partition(b"?")
        self.args = http.parse_qs(query)
        if self.getHeader(b"content-type") is not None:
            self.args.update(http.parse_qs(self.content.read()))
            self.content.seek(0)
        self.process()


class PiecesAlone(server.Request):
    """It overrides ``handleContentChunk`` alone."""

    def handleContentChunk(self, data: bytes) -> None:
        server.Request.handleContentChunk(self, data.upper())


@pytest.mark.parametrize("factory", [NotingOurs, NotingTheirs, NotingExplicit, NotingAlone])
@ensureDeferred
async def test_a_request_factory_is_told_of_the_message(run: Run, factory: Any) -> None:
    """``handleContentChunk`` and ``requestReceived``, which may look at the body and change what is asked for."""

    def say(request: Any) -> bytes:
        return repr((request.path, request.args, request.content.read(), getattr(request, "noted", []))).encode()

    root = resource.Resource()
    root.putChild(b"new", Page(say))
    async with run(root, requestFactory=factory) as site:
        client = site.connect()
        ask = partial(deferToThread, site.ask_on, client)
        for _ in range(2):  # kept alive
            got = await ask("GET", "/old?a=b", None, {})
            assert got.headers["x-received"] == "GET HTTP/1.1 0"
            assert got.body == repr((b"/new", {b"a": [b"b"]}, b"", [])).encode()
            form = await ask("POST", "/old?a=b", b"c=d", {"Content-Type": "application/x-www-form-urlencoded"})
            assert form.headers["x-received"] == "POST HTTP/1.1 3"
            assert form.body == repr((b"/new", {b"a": [b"b"], b"c": [b"d"]}, b"c=d", [b"c=d"])).encode()
        client.close()
    async with run(root, requestFactory=PiecesAlone) as site:
        form = await site.ask("/new", "POST", b"c=d", Content_Type="application/x-www-form-urlencoded")
        assert form.body == repr((b"/new", {b"C": [b"D"]}, b"C=D", [])).encode()


def two_arguments(factory: Any) -> Callable[..., Any]:
    return lambda channel, queued: factory(channel)


@pytest.mark.parametrize("make", [partial, two_arguments])
@pytest.mark.parametrize("factory", [hardhttp.Request, Ours, Theirs, Explicit, NotingTheirs])
@ensureDeferred
async def test_a_request_factory_that_is_no_class(run: Run, factory: Any, make: Callable[..., Any]) -> None:
    async with run(ways_to_answer([]), requestFactory=make(factory)) as site:
        client = site.connect()
        ask = partial(deferToThread, site.ask_on, client)
        for _ in range(2):  # kept alive
            whole = await ask("GET", "/whole?a=b", None, {})
            assert (whole.status, whole.body.lower()) == (200, b"whole b")
            assert ("x-seen" in whole.headers) == (factory in (Ours, Theirs, Explicit))
            assert ("x-born" in whole.headers) == (factory in (Theirs, Explicit))
            assert ("x-received" in whole.headers) == (factory is NotingTheirs)
            assert len(whole.cookies) == (factory is Explicit)
        assert (await ask("POST", "/posted", b"body", {})).body.lower() == b"body"
        client.close()


@ensureDeferred
async def test_a_request_factory_that_makes_no_request(run: Run) -> None:
    with Failures() as failures:
        async with run(ways_to_answer([]), requestFactory=lambda channel: object()) as site:
            with pytest.raises(ConnectionResetError):
                await site.say(b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n")
    assert "requestFactory made a object, not" in str(failures[0])


@ensureDeferred
async def test_a_request_factory_given_later_or_by_a_subclass(run: Run) -> None:
    """``twisted.web`` reads ``requestFactory`` when a connection is made."""

    class Shop(Site):
        requestFactory = Theirs

    async with run(Shop(ways_to_answer([]), reactor=reactor)) as site:
        assert (await site.ask("/whole")).body == b"WHOLE -"
    assigned = Site(ways_to_answer([]), reactor=reactor)
    assigned.requestFactory = Theirs
    async with run(assigned) as site:
        assert (await site.ask("/whole")).body == b"WHOLE -"
        site.site.requestFactory = hardhttp.Request
        assert (await site.ask("/whole")).body == b"whole -"


@pytest.mark.parametrize("factory", [Ours, Theirs, Explicit])
@ensureDeferred
async def test_a_request_factorys_client_may_leave(run: Run, factory: Any) -> None:
    outcomes: list[Any] = []

    def wait(request: Any) -> Any:
        request.write(b"begun")
        request.notifyFinish().addBoth(lambda outcome: outcomes.append((request, outcome)))
        return server.NOT_DONE_YET

    async with run(Page(wait), requestFactory=factory) as site:
        await site.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", until=lambda got: b"BEGUN" in got)
        await site.wait_for(lambda: outcomes)
        ((request, outcome),) = outcomes
        assert outcome.check(ConnectionDone, ConnectionLost)
        request.write(b"more")
        if factory is not Explicit:  # twisted.web's own finish raises here
            request.finish()
            assert site.site.statistics.ignored_writes == 2


# -- a site among twisted's own means ----------------------------------------------------------


@ensureDeferred
async def test_an_endpoint_service() -> None:
    site = Site(Page(lambda request: b"served"), reactor=reactor)
    running = StreamServerEndpointService(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), site)
    running.startService()
    port = (await running._waitingForPort).getHost().port
    assert await deferToThread(fetch, port) == b"served"
    await running.stopService()
    assert site.connection_count == 0


@ensureDeferred
async def test_a_strports_service(tmp_path: Path) -> None:
    site = Site(Page(lambda request: type(request.getClientAddress()).__name__.encode()), reactor=reactor)
    running = strports.service(f"unix:{tmp_path / 'web'}", site)
    running.privilegedStartService()
    running.startService()
    curl = partial(subprocess.run, ["curl", "-s", "--unix-socket", str(tmp_path / "web"), "http://a/"])
    found = await deferToThread(curl, capture_output=True, check=True, timeout=10)
    assert found.stdout == b"UNIXAddress"
    await running.stopService()


def fetch(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
        body: bytes = response.read()
        return body


@ensureDeferred
async def test_logging_as_twisted_web_does(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    async with run(Page(lambda request: b"four"), logPath=str(log).encode()) as site:
        await site.ask("/a?b=c", User_Agent='a "quoted" agent', Referer="http://example.com/")
    said = log.read_bytes()
    assert re.fullmatch(
        rb'"127\.0\.0\.1" - - \[[^]]+\] "GET /a\?b=c HTTP/1\.1" 200 4 "http://example\.com/" "a \\"quoted\\" agent"\n',
        said,
    )


@ensureDeferred
async def test_a_log_formatter(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    def formatter(timestamp: str, request: Any) -> str:
        return f"{request.getClientAddress().host} {request.method.decode()} {request.code} {request.sentLength}"

    async with run(Page(lambda request: b"four"), logPath=str(log).encode(), logFormatter=formatter) as site:
        await site.ask("/")
        await site.ask("/", "HEAD")
    assert log.read_text() == "127.0.0.1 GET 200 4\n127.0.0.1 HEAD 200 0\n"


@ensureDeferred
async def test_forms_are_left_alone_when_the_site_says_so(run: Run) -> None:
    def say(request: Any) -> bytes:
        return b"%d fields, %s" % (len(request.args), request.content.read())

    async with run(Page(say), parsePOSTFormSubmission=False) as site:
        answer = await site.ask("/?q=1", "POST", b"a=b", Content_Type="application/x-www-form-urlencoded")
        assert answer.body == b"1 fields, a=b"


@ensureDeferred
async def test_curl(run: Run, tree: Path) -> None:
    root = ways_to_answer([])
    root.putChild(b"files", static.File(str(tree)))
    upload = tree / "large.bin"

    def curl(*words: str) -> bytes:
        done = subprocess.run(["curl", "-sS", "--max-time", "10", *words], capture_output=True, check=True, timeout=20)
        return done.stdout

    async with run(root) as site:
        assert await deferToThread(curl, f"{site.url}/whole") == b"whole -"
        both = await deferToThread(curl, f"{site.url}/whole", f"{site.url}/later", "-w", "%{num_connects}")
        assert both == b"whole -1in pieces0"
        assert await deferToThread(curl, "-F", "a=by form", f"{site.url}/whole") == b"whole by form"
        assert await deferToThread(curl, "--http1.0", f"{site.url}/later") == b"in pieces"
        echoed = await deferToThread(
            curl, "-T", str(upload), "-X", "POST", "--expect100-timeout", "5", f"{site.url}/posted"
        )
        assert echoed == upload.read_bytes()
        chunked = await deferToThread(
            curl, "-T", str(upload), "-X", "POST", "-H", "Transfer-Encoding: chunked", f"{site.url}/posted"
        )
        assert chunked == upload.read_bytes()
        ranged = await deferToThread(curl, "-r", "2-4", f"{site.url}/files/digits.txt")
        assert ranged == b"234"
        head = await deferToThread(curl, "-I", f"{site.url}/files/digits.txt")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 10\r\n" in head


@ensureDeferred
async def test_a_limit_of_the_site_holds_for_what_was_written_for_twisted(run: Run) -> None:
    root = ways_to_answer([])
    async with run(root, limits=Limits(max_body_bytes=10)) as site:
        assert (await site.ask("/posted", "POST", b"0123456789")).body == b"0123456789"
        assert (await site.ask("/posted", "POST", b"01234567890")).status == 413
