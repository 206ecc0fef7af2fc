"""Each example, run as its reader would run it; those of clients are run in ``tests/client``."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.stores.redis_process import RedisProcess
from tests.twistd_process import ENVIRONMENT, PATIENCE_SECONDS, ROOT, TWISTD, Logged, ended_as_twistd_does

pytestmark = pytest.mark.slow  # it starts real processes

EXAMPLES = ROOT / "examples"


class Program(Logged):
    """A running example, and a client of it."""

    port = 0

    def __init__(self, log: Path, words: list[str], environment: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                words, cwd=log.parent, env={**ENVIRONMENT, **environment}, stdout=output, stderr=subprocess.STDOUT
            )

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        client.request(method, path, body=body, headers=headers)
        response = client.getresponse()
        answer = response.status, response.read()
        client.close()
        return answer

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def begin(name: str, **environment: str) -> Program:
        path = str(EXAMPLES / name)
        words = [*TWISTD, "-n", "--pidfile=", "-y", path] if name.endswith(".tac") else [sys.executable, path, "0"]
        started.append(program := Program(tmp_path / "log", words, environment))
        pattern = r"starting on (\d+)" if name.endswith(".tac") else r"http://127\.0\.0\.1:(\d+)/"
        program.port = int(program.wait_for(pattern)[1])
        return program

    yield begin
    for program in started:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()


def test_every_example_is_run_here_and_listed() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".tac")}
    here = Path(__file__).read_text("utf-8")
    clients = "".join(path.read_text("utf-8") for path in sorted(ROOT.glob("tests/client/test_*.py")))
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    for name in names:
        assert f'start("{name}"' in here or f'"examples" / "{name}"' in clients
        assert f"`{name}`" in listed


def test_hello(start: Callable[..., Program]) -> None:
    program = start("hello.py")
    assert program.ask("/") == (200, b"Hello, world.\n")
    assert program.stop() in (0, -signal.SIGTERM)


def test_composed(start: Callable[..., Program]) -> None:
    program = start("composed.py")
    assert program.ask("/")[0] == 200
    figures = json.loads(program.ask("/figures")[1])
    assert figures["statistics"]["requests"] == 1
    assert figures["ledger"]["connections"] == 1
    assert program.ask("/limits", "POST", b"x" * 1001)[0] == 413
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert program.ask("/limits", "POST", "max_body_bytes=2000", **kind) == (200, b"2000\n")
    assert program.ask("/limits", "POST", b"max_body_bytes=10&" + b"x" * 1500, **kind)[0] == 200
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_service(start: Callable[..., Program], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a file")
    program = start("service.tac", PORT="0", WEBROOT=str(tmp_path))
    assert program.ask("/a.txt") == (200, b"a file")
    assert ended_as_twistd_does(program.stop())


def test_client(start: Callable[..., Program]) -> None:
    program = start("client.py")
    assert program.ask("/") == (200, b"price: {'pence': 310}\nlarge: body-bytes\nsilent: first-byte-seconds\n")
    ledger, statistics = json.loads(program.ask("/figures")[1])
    assert ledger["connections"] == ledger["idle_connections"] == 1
    assert statistics["failed"] == {"body-bytes": 1, "first-byte-seconds": 1}
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_early_hints(start: Callable[..., Program]) -> None:
    program = start("early_hints.py")
    for path, first in (("/slow", b"</app.css>; rel=preload; as=style, <https://fonts"), ("/users/ann", b"</app.css>")):
        with socket.create_connection(("127.0.0.1", program.port), PATIENCE_SECONDS) as client:
            fields = "Host: a\r\nSec-Fetch-Mode: navigate\r\nConnection: keep-alive, close\r\n\r\n"
            client.sendall(f"GET {path} HTTP/1.1\r\n{fields}".encode())
            answer = client.makefile("rb").read()
        early, *between, head, body = answer.split(b"\r\n\r\n")
        assert early.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: " + first)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"/app.css>; rel=preload" in head
        assert body.startswith(b"<link rel=stylesheet")
        assert [part[:12] for part in between] == ([] if path == "/slow" else [b"HTTP/1.1 103"])
    assert program.ask("/slow")[0] == 200  # no browser: no 103
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_upload(start: Callable[..., Program], tmp_path: Path) -> None:
    program = start("upload.py")
    body = os.urandom(3 << 20)
    expected = f"{len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()
    assert program.ask("/", "PUT", body) == (200, expected)
    assert program.ask("/", "PUT", iter([body[:1000], body[1000:]])) == (200, expected)  # in chunks
    assert program.ask("/", "PUT", b"") == (200, f"0 {hashlib.sha256().hexdigest()}\n".encode())
    status, said = program.ask("/", "PUT", b"x", Authorization="Basic bm9ib2R5Og==")
    assert (status, said) == (403, b"not you\n")
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_events(start: Callable[..., Program]) -> None:
    program = start("events.py")
    assert b"EventSource" in program.ask("/")[1]
    with socket.create_connection(("127.0.0.1", program.port), PATIENCE_SECONDS) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        received = client.recv(65536)
        assert program.ask("/tell", "POST", b"all of you") == (204, b"")
        while b"data: all of you\n\n" not in received or b"event: tick\n" not in received:
            data = client.recv(65536)
            assert data
            received += data
    program.stop()


def test_eventsource(start: Callable[..., Program]) -> None:
    """It is hung up on several times, and misses nothing."""
    program = start("eventsource.py")
    program.wait_for(r"tick 25\n")
    said = program.log.read_text("utf-8")
    ticks = [int(number) for number in re.findall(r"^tick (\d+)$", said, re.M)]
    assert ticks[:26] == list(range(26))
    assert "CONNECTING\n" in said
    program.stop()
    assert "ended: closed" in program.log.read_text("utf-8")
    assert "Traceback" not in program.log.read_text("utf-8")


def test_websocket_chat(start: Callable[..., Program]) -> None:
    program = start("websocket_chat.py")
    assert b"new WebSocket" in program.ask("/")[1]
    url = f"ws://127.0.0.1:{program.port}/chat"
    with connect(url) as one, connect(url) as two:
        one.send("hello")
        assert one.recv(PATIENCE_SECONDS) == two.recv(PATIENCE_SECONDS) == "guest 1: hello"
        with connect(url) as late:
            assert late.recv(PATIENCE_SECONDS) == "guest 1: hello"
            late.send("x" * 501)
            with pytest.raises(ConnectionClosed) as raised:
                late.recv(PATIENCE_SECONDS)
            assert raised.value.rcvd.code == 1008
        two.send("and good bye")
        assert one.recv(PATIENCE_SECONDS) == "guest 2: and good bye"
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_handlers(start: Callable[..., Program]) -> None:
    program = start("handlers.py")
    assert program.ask("/text") == (200, "Gr\u00fc\u00dfe\n".encode())
    assert program.ask("/deferred") == (200, b"later\n")
    assert program.ask("/awaited") == (200, b"awaited\n")
    assert program.ask("/pieces") == (200, b"piece 0\npiece 1\npiece 2\n")
    status, page = program.ask("/broken")
    assert status == 500
    assert b"the client has the id" not in page
    with socket.create_connection(("127.0.0.1", program.port), PATIENCE_SECONDS) as client:
        client.sendall(b"GET /patient HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.1)
    program.wait_for("cancelled")
    program.stop()


def test_hardened(start: Callable[..., Program]) -> None:
    program = start("hardened.py")
    client = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_SECONDS)
    client.request("GET", "/api/words?many", headers={"Origin": "https://app.example", "Accept-Encoding": "gzip"})
    response = client.getresponse()
    assert json.loads(gzip.decompress(response.read()))[:3] == ["one", "two", "three"]
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["RateLimit"].startswith('"default";r=19;')
    client.request("OPTIONS", "/api/words", headers={"Origin": "null", "Access-Control-Request-Method": "POST"})
    response = client.getresponse()
    assert (response.status, response.read()) == (204, b"")
    assert "Access-Control-Allow-Origin" not in response.headers
    client.close()
    assert program.ask("/api/words", "POST", b"four") == (204, b"")
    statuses = [program.ask("/api/words")[0] for _ in range(25)]
    assert statuses.count(429) >= 5
    assert program.ask("/")[0] == 200
    program.stop()


def test_requests_and_forms(start: Callable[..., Program]) -> None:
    program = start("requests_and_forms.py")
    assert b"multipart/form-data" in program.ask("/")[1]
    status, found = program.ask("/search?q=t%C3%A9&page=2&tag=a&tag=b")
    assert (status, json.loads(found)) == (200, {"words": "t\u00e9", "page": 2, "tags": ["a", "b"]})
    status, page = program.ask("/search?page=none")
    assert status == 400
    assert b"whole number" in page
    kind = {"Content-Type": "application/json"}
    assert json.loads(program.ask("/orders", "POST", b'{"a": [1]}', **kind)[1]) == {"received": {"a": [1]}}
    assert program.ask("/orders", "POST", b"{", **kind)[0] == 400
    assert program.ask("/orders", "POST", b"{}")[0] == 415
    content = os.urandom(3 << 20)
    kind = {"Content-Type": "multipart/form-data; boundary=limit"}
    title = b'--limit\r\nContent-Disposition: form-data; name="title"\r\n\r\nTea\r\n'
    file = b'--limit\r\nContent-Disposition: form-data; name="picture"; filename="a/b.iso"\r\n\r\n%s\r\n' % content
    status, kept = program.ask("/notes", "POST", title + file + b"--limit--\r\n", **kind)
    picture = {"name": "b.iso", "type": "application/octet-stream", "bytes": 3 << 20}
    assert (status, json.loads(kept)) == (200, {"title": "Tea", "pictures": [picture]})
    assert program.ask("/notes", "POST", file + b"--limit--\r\n", **kind)[0] == 400
    status, sums = program.ask("/checksums", "POST", title + file + b"--limit--\r\n", **kind)
    assert json.loads(sums) == {"b.iso": hashlib.sha256(content).hexdigest()}
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_routing(start: Callable[..., Program]) -> None:
    program = start("routing.py")
    assert b"<a href='/api/notes/1'>" in program.ask("/")[1]
    assert json.loads(program.ask("/api/notes")[1]) == [{"id": 1, "text": "water the plants"}]
    assert program.ask("/api/notes", "POST", b"x")[0] == 403
    key = {"X-Key": "secret"}
    assert program.ask("/api/notes", "POST", b"tea", **key) == (201, b'{"id":2}')
    assert json.loads(program.ask("/api/notes/2")[1]) == {"id": 2, "text": "tea"}
    assert program.ask("/api/notes/2", "DELETE", **key) == (204, b"")
    assert program.ask("/api/notes/2") == (404, b'{"missing":"2"}')
    assert program.ask("/api/notes/two")[0] == 404
    assert program.ask("/count/5") == (200, b"1\n2\n3\n4\n5\n")
    assert program.ask("/count") == (200, b"1\n2\n3\n")
    assert b"class Notes" in program.ask("/source/routing.py")[1]
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_behind_proxy(start: Callable[..., Program]) -> None:
    program = start("behind_proxy.py")
    told = {"X-Forwarded-For": "6.6.6.6, 192.0.2.43", "X-Forwarded-Proto": "https", "X-Request-ID": "abc"}
    _, said = program.ask("/?token=secret", Host="shop.example", **told)
    assert said.decode().splitlines() == [
        "192.0.2.43 asks for https://shop.example:443, by way of 127.0.0.1",
        "secure: True, id: abc",
    ]
    line = json.loads(program.wait_for(r'\{"time".*\}')[0])
    assert (line["address"], line["seen"], line["id"], line["tls"]) == ("192.0.2.43", "127.0.0.1", "abc", True)
    assert line["target"] == "/?token=***"
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_behind_a_proxy_that_passes_on_bytes(start: Callable[..., Program]) -> None:
    program = start("behind_proxy.py", PROXY_PROTOCOL="1")
    with socket.create_connection(("127.0.0.1", program.port), PATIENCE_SECONDS) as client:
        client.sendall(b"PROXY TCP4 192.0.2.43 198.51.100.7 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"192.0.2.43 asks for http://a:443, by way of 127.0.0.1" in client.recv(65536)
    with pytest.raises(ConnectionResetError):
        program.ask("/")
    program.stop()


def test_tls(start: Callable[..., Program], tmp_path: Path) -> None:
    program = start("tls.py")
    found = program.wait_for(r"(https://localhost:(\d+)/) --cacert (.*)")
    context = ssl.create_default_context(cafile=str(tmp_path / found[3]))
    with socket.create_connection(("127.0.0.1", int(found[2])), PATIENCE_SECONDS) as raw:
        client = http.client.HTTPSConnection("localhost", context=context)
        client.sock = context.wrap_socket(raw, server_hostname="localhost")
        client.request("GET", "/")
        assert client.getresponse().read() == b"https for nobody we know\n"
        client.close()
    plain = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_SECONDS)
    plain.request("GET", "/a?b", headers={"Host": "localhost:80"})
    answer = plain.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, f"{found[1]}a?b")
    plain.close()
    program.stop()


def test_http2(start: Callable[..., Program], tmp_path: Path) -> None:
    program = start("http2.py")
    found = program.wait_for(r"(https://localhost:(\d+)/) --cacert (.*)")
    context = ssl.create_default_context(cafile=str(tmp_path / found[3]))
    with httpx.Client(http2=True, verify=context, timeout=PATIENCE_SECONDS) as client:
        answer = client.get(found[1])
        assert (answer.http_version, "by <b>HTTP/2.0</b>" in answer.text) == ("HTTP/2", True)
        assert answer.headers["link"] == "</app.css>; rel=preload; as=style"
        with client.stream("GET", found[1] + "time") as events:
            assert next(line for line in events.iter_lines() if line.startswith("data: ")).endswith(" seconds")
            assert client.get(found[1] + "app.css").text == "b { color: teal }\n"  # meanwhile
    with connect(f"ws://127.0.0.1:{program.port}/echo") as plain:
        plain.send("hello")
        assert plain.recv(PATIENCE_SECONDS) == "hello, by HTTP/1.1"
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_responses(start: Callable[..., Program]) -> None:
    program = start("responses.py")
    assert program.ask("/greet") == (200, "Gr\u00fc\u00dfe\n".encode())
    assert json.loads(program.ask("/figures")[1])["room"] == "K\u00fcche"
    text = (EXAMPLES / "responses.py").read_bytes()
    assert program.ask("/source") == program.ask("/shown") == (200, text)
    assert program.ask("/report") == (200, b"".join(b"row %d\n" % i for i in range(5)))
    assert program.ask("/sign_in?next=/report")[0] == 303
    assert program.ask("/sign_in?next=//evil.example")[0] == 400
    first = '"' + base64.urlsafe_b64encode(hashlib.sha256(b"first").digest()[:15]).decode() + '"'
    assert program.ask("/edit", **{"If-None-Match": first})[0] == 304
    assert program.ask("/edit", "PUT", b"second", **{"If-Match": first})[0] == 204
    assert program.ask("/edit", "PUT", b"third", **{"If-Match": first})[0] == 412
    assert program.ask("/edit") == (200, b"second")
    status, page = program.ask("/missing", Accept="application/json")
    assert (status, json.loads(page)["detail"]) == (404, "There is no such thing.")
    status, page = program.ask("/nowhere")
    assert (status, page.startswith(b"<h1>Nothing here</h1>")) == (404, True)
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_static_files(start: Callable[..., Program]) -> None:
    program = start("static_files.py")
    status, listing = program.ask("/files/")
    assert (status, b"hello.py" in listing) == (200, True)
    text = (EXAMPLES / "hello.py").read_bytes()
    assert program.ask("/files/hello.py") == (200, text)
    assert program.ask("/files/hello.py", Range="bytes=3-9") == (206, text[3:10])
    assert program.ask("/files/%2e%2e/setup.py")[0] == 404
    assert program.ask("/files/none", Accept="text/html")[0] == 404
    assert program.ask("/app/orders/42", Accept="text/html") == program.ask("/app/")
    assert program.ask("/app/orders/42", Accept="application/json")[0] == 404
    assert b"location.pathname" in program.ask("/app/app.3f2a9c1b.js")[1]
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_persistent_sessions(start: Callable[..., Program], tmp_path: Path) -> None:
    """Killed and started anew it knows who was signed in: more of that in tests/stores/test_restart.py."""

    def client(program: Program, path: str, body: str | None = None, cookie: str = "") -> http.client.HTTPResponse:
        line = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_SECONDS)
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        line.request("POST" if body else "GET", path, body, {"Cookie": cookie, **kind})
        return line.getresponse()

    store = f"sqlite:{tmp_path}/sessions.db"
    program = start("persistent_sessions.py", SESSION_STORE=store)
    assert b"Sign in" in program.ask("/")[1]
    cookie = (client(program, "/sign_in", "name=Ada").getheader("Set-Cookie") or "").partition(";")[0]
    assert client(program, "/", cookie=cookie).read() == b"Ada, visit 1\n"
    program.process.kill()
    program.process.wait()
    program = start("persistent_sessions.py", SESSION_STORE=store)
    assert client(program, "/", cookie=cookie).read() == b"Ada, visit 2\n"
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_sessions(start: Callable[..., Program]) -> None:
    program = start("sessions.py")
    cookie = ""

    def ask(path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
        nonlocal cookie
        client = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_SECONDS)
        kind = {} if body is None else {"Content-Type": "application/x-www-form-urlencoded"}
        client.request("GET" if body is None else "POST", path, body, {"Cookie": cookie, **kind, **headers})
        response = client.getresponse()
        cookie = (response.getheader("Set-Cookie") or cookie).partition(";")[0]
        return response.status, response.read().decode()

    def token(page: str) -> str:
        return page.partition("value=")[2].partition(">")[0]

    assert "whoever you are" in ask("/")[1]
    assert cookie == ""
    page = ask("/sign_in")[1]
    before = cookie
    assert ask("/sign_in", "name=Ada")[0] == 403
    assert ask("/sign_in", f"name=Ada&csrf_token={token(page)}", Origin="http://evil.example")[0] == 403
    assert ask("/sign_in", f"name=Ada&csrf_token={token(page)}")[0] == 303
    assert cookie not in ("", before)
    assert "Hello Ada, visit 1." in ask("/")[1]
    page = ask("/")[1]
    assert "visit 2." in page
    assert ask("/sign_out", f"csrf_token={token(page)}")[0] == 303
    assert "whoever you are" in ask("/")[1]
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_several_processes(start: Callable[..., Program], tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path)
    redis.start()
    other = None
    try:
        one = start("several_processes.py", BROKER=redis.url)
        path = str(EXAMPLES / "several_processes.py")
        other = Program(tmp_path / "other.log", [sys.executable, path, "0"], {"BROKER": redis.url})
        other.port = int(other.wait_for(r"http://127\.0\.0\.1:(\d+)/")[1])
        for program in (one, other):
            deadline = time.monotonic() + PATIENCE_SECONDS
            while program.ask("/ready")[0] != 200:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, said = one.ask("/news", "POST", "text=first", **form)
        assert status == 200
        client = http.client.HTTPConnection("127.0.0.1", other.port, timeout=PATIENCE_SECONDS)
        client.request("GET", "/events", headers={"Last-Event-ID": "earliest"})
        stream = client.getresponse()
        assert one.ask("/news", "POST", "text=second", **form)[0] == 200
        lines: list[bytes] = []
        while lines.count(b"\n") < 3:  # a hello, and two events
            lines.append(stream.readline())
        client.close()
        assert f"id: {json.loads(said)['id']}\n".encode() in lines
        assert [line for line in lines if line.startswith(b"data")] == [b"data: first\n", b"data: second\n"]
    finally:
        if other is not None:
            other.stop()
        redis.kill()


def test_mercure_hub(start: Callable[..., Program]) -> None:
    """Two users: each has what is his, nobody without a session has anything, and a program publishes."""
    secret = "a secret of thirty-two characters"
    program = start("mercure_hub.py", PUBLISHER_KEY=secret)
    hub = "/.well-known/mercure"

    def post(path: str, **fields: str) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        headers |= {name: fields.pop(name) for name in ("Cookie", "Authorization") if name in fields}
        line = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_SECONDS)
        line.request("POST", path, urlencode(fields), headers)
        return line.getresponse()

    def subscribe(cookie: str, **headers: str) -> http.client.HTTPResponse:
        line = http.client.HTTPConnection("127.0.0.1", program.port, timeout=PATIENCE_SECONDS)
        line.request("GET", hub + "?topic=/news/{kind}", headers={"Cookie": cookie, **headers})
        return line.getresponse()

    def events(stream: http.client.HTTPResponse, count: int) -> list[tuple[str | None, str]]:
        """The next ones, with their types."""
        found: list[tuple[str | None, str]] = []
        event: str | None = None
        while len(found) < count:
            name, _, value = stream.readline().decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                found.append((event, value))
            elif not name:
                event = None
        return found

    assert program.ask(hub + "?topic=/news/general")[0] == 403
    assert post("/news", text="from nobody").status == 403
    ada, bob = (
        (post("/sign_in", name=name).getheader("Set-Cookie") or "").partition(";")[0] for name in ("ada", "bob")
    )
    streams = subscribe(ada), subscribe(bob)
    assert [stream.status for stream in streams] == [200, 200]
    assert post("/news", text="Hello", Cookie=bob).status == 303
    hello = (None, '{"from":"bob","text":"Hello"}')
    first, staff = events(streams[0], 2)
    assert (first, staff[0], json.loads(staff[1])["matched"]) == (hello, "staff", 2)
    assert post("/whisper", to="bob", text="psst", Cookie=ada).status == 303
    assert events(streams[1], 2) == [hello, ("whisper", '{"from":"ada","text":"psst"}')]
    assert post("/whisper", to="eve", text="psst", Cookie=ada).status == 404

    token = jwt.encode({"mercure": {"publish": ["/news/{kind}"]}}, secret, algorithm="HS256")
    assert post(hub, topic="/news/prices", data="42", Authorization=f"Bearer {token}").status == 200
    assert post(hub, topic="/other", data="42", Authorization=f"Bearer {token}").status == 403
    assert events(streams[0], 1) == events(streams[1], 1) == [(None, "42")]

    assert post("/sign_out", Cookie=bob).status == 303
    assert streams[1].read().strip() == b""
    assert subscribe(bob).status == 403
    assert post("/news", text="Anybody?", Cookie=ada).status == 303
    last_id = json.loads(events(streams[0], 2)[1][1])["id"]
    back = subscribe(ada, **{"Last-Event-ID": last_id.partition("-")[0] + "-0"})
    assert events(back, 3) == [hello, (None, "42"), (None, '{"from":"ada","text":"Anybody?"}')]
    program.stop()
    assert "Traceback" not in program.log.read_text("utf-8")


def test_soak(tmp_path: Path) -> None:
    """As a project would run it: by pytest, which finds the plugin where hardhttp is installed."""
    shop = shutil.copytree(EXAMPLES / "soak", tmp_path / "shop")
    (shop / "pytest.ini").write_text("[pytest]\n")  # not this project's options
    words = ["-p", "pytest_hardhttp", "--hardhttp-soak-seconds=6", f"--basetemp={tmp_path}/pytest", "test_shop.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=shop,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert len(list(tmp_path.rglob("report.html"))) == 2
