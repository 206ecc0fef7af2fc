"""The files of examples/deployment, read by the programs that they are for; and requests, an event stream and a
WebSocket through them."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.listening import free_port
from tests.restart_load import Connection
from tests.test_restart import LOCAL, wait_until
from tests.twistd_process import PATIENCE_SECONDS, ROOT, Server

pytestmark = pytest.mark.slow

FILES = ROOT / "examples" / "deployment"
SBIN = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
# Not less: see systemd.exec(5) for what each of these costs.
MAX_EXPOSURE = 2.0

APP = """
    import json
    from twisted.web.resource import Resource
    from hardhttp.sse.stream import EventStream
    from hardhttp.web.websocket import WebSocketResource
    from twisted.internet import reactor

    stream = EventStream(reactor)

    class Told(Resource):
        isLeaf = True

        def render_GET(self, request):
            info = request.client_info
            passed = [request.getHeader(name) for name in ("forwarded", "x-real-ip")]
            return json.dumps([info.address, info.scheme, info.host, *passed]).encode()

        def render_POST(self, request):
            stream.publish(request.content.read().decode())
            return b""

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    root = Resource()
    root.putChild(b"told", Told())
    root.putChild(b"events", stream)
    root.putChild(b"echo", WebSocketResource(echo))
"""


def program(name: str) -> str:
    found = shutil.which(name, path=SBIN)
    assert found is not None, f"{name} is installed by .ci/run"
    return found


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


# -- systemd ------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is on this machine."""
    for name in ("hardhttp.service", "hardhttp.socket"):
        text = (FILES / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/shop/bin/twistd", sys.executable))
    return tmp_path


def test_the_units_are_understood(units: Path) -> None:
    done = run(program("systemd-analyze"), "verify", "./hardhttp.service", "./hardhttp.socket", cwd=units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (units / "hardhttp.service").write_text((units / "hardhttp.service").read_text() + "ProtectAll=yes\n")
    done = run(program("systemd-analyze"), "verify", "./hardhttp.service", cwd=units)
    assert "ProtectAll" in done.stderr


def test_the_unit_leaves_little_exposed(units: Path) -> None:
    done = run(program("systemd-analyze"), "security", "--offline=true", "./hardhttp.service", cwd=units)
    found = re.search(r"exposure level for hardhttp.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MAX_EXPOSURE


def test_the_unit_waits_for_the_drain() -> None:
    """systemd kills what has not ended in its time."""
    from hardhttp import Limits

    seconds = int(re.findall(r"TimeoutStopSec=(\d+)", (FILES / "hardhttp.service").read_text())[0])
    assert seconds > Limits().drain_seconds + Limits().abort_seconds


# -- proxies ------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[..., tuple[Server, int]]]:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    servers: list[Server] = []

    def start(*options: str) -> tuple[Server, int]:
        words = "--app=shop:root", "--trusted-proxies=127.0.0.1", f"--admin=tcp:0:interface={LOCAL}", *options
        servers.append(Server(tmp_path, *words))
        return servers[0], int(servers[0].wait_for(r"the admin side is at port (\d+)")[1])

    yield start
    for server in servers:
        server.close()


def adapted(name: str, **ports: int) -> str:
    """A file with other ports than its own."""
    text = (FILES / name).read_text()
    for old, new in ports.items():
        text, count = re.subn(rf"(?<=\D){old[1:]}(?=\D)", str(new), text)
        assert count, f"{name} has no {old[1:]}"
    return text


@contextmanager
def running(cwd: Path, port: int, *words: str) -> Iterator[None]:
    log = cwd / "proxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, cwd=cwd, env={**os.environ, "HOME": str(cwd)}, stdout=output, stderr=subprocess.STDOUT
        )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as client:
            return client.connect_ex((LOCAL, port)) == 0

    try:
        wait_until(listens, "the proxy does not listen")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


FORGED = {
    "Host": "shop.example",
    "Forwarded": "for=192.0.2.66;host=evil.example",
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Host": "evil.example",
    "X-Real-IP": "192.0.2.66",
}


def told(port: int) -> list[str | None]:
    """What the application believes of a client that lies."""
    client = http.client.HTTPConnection(LOCAL, port, timeout=PATIENCE_SECONDS, source_address=("127.0.0.7", 0))
    client.request("GET", "/told", headers=FORGED)
    response = client.getresponse()
    body = response.read()
    assert response.status == 200, body
    client.close()
    found: list[str | None] = json.loads(body)
    return found


def streams_and_talks(port: int) -> None:
    """An event comes while its stream goes on; and a WebSocket passes."""
    client = http.client.HTTPConnection(LOCAL, port, timeout=PATIENCE_SECONDS)
    client.request("GET", "/events", headers={"Host": "shop.example"})
    response = client.getresponse()
    for number in range(3):
        other = http.client.HTTPConnection(LOCAL, port, timeout=PATIENCE_SECONDS)
        other.request("POST", "/told", body=str(number), headers={"Host": "shop.example"})
        assert other.getresponse().status == 200
        other.close()
        line = b""
        while not line.startswith(b"data:"):
            line = response.readline()
        assert line.strip() == b"data: %d" % number
    response.close()
    client.close()
    with connect(f"ws://shop.example:{port}/echo", sock=socket.create_connection((LOCAL, port))) as talk:
        talk.send("hello")
        assert talk.recv(PATIENCE_SECONDS) == "hello"


def test_nginx(shop: Callable[..., tuple[Server, int]], tmp_path: Path) -> None:
    server, _ = shop()
    port = free_port()
    (tmp_path / "shop.conf").write_text(adapted("nginx.conf", p8080=server.port, p80=port))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; include {tmp_path}/shop.conf; }}\n"
    )
    words = program("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")
    done = run(*words, "-t", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
    with running(tmp_path, port, *words):
        assert told(port) == ["127.0.0.7", "http", "shop.example", None, None]
        streams_and_talks(port)
        # No bytes of a body wait in a file of nginx, and its size is hardhttp's to judge.
        client = Connection(port)
        client.socket.sendall(b"POST /told HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 99999999999\r\n\r\n")
        assert client.head()[0] == 413
        client.close()


def test_haproxy(shop: Callable[..., tuple[Server, int]], tmp_path: Path) -> None:
    server, admin = shop("--proxy-protocol", "--drain-seconds=5s")
    port, secure = free_port(), free_port()
    ports = {"p8080": server.port, "p8443": server.port, "p8081": admin, "p80": port, "p443": secure}
    (tmp_path / "haproxy.cfg").write_text(adapted("haproxy.cfg", **ports))
    done = run(program("haproxy"), "-c", "-f", "haproxy.cfg", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    with running(tmp_path, port, program("haproxy"), "-f", "haproxy.cfg"):
        # As TCP it passes on what a client wrote, which is believed of nobody.
        address, scheme, _, forwarded, _ = told(port)
        assert (address, scheme) == ("127.0.0.7", "http")
        assert forwarded == FORGED["Forwarded"]
        streams_and_talks(port)


def test_caddy(shop: Callable[..., tuple[Server, int]], tmp_path: Path) -> None:
    server, admin = shop()
    port = free_port()
    words = program("caddy"), "run", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")
    file = str(FILES / "Caddyfile")
    done = run(program("caddy"), "validate", "--adapter", "caddyfile", "--config", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(program("caddy"), "fmt", file, cwd=tmp_path).stdout == (FILES / "Caddyfile").read_text()
    text = adapted("Caddyfile", p8080=server.port, p8081=admin)
    # Without a certificate authority that would know the name.
    text = text.replace("shop.example {", f"http://shop.example:{port} {{")
    (tmp_path / "Caddyfile").write_text("{\n\tadmin off\n\tgrace_period 1s\n}\n" + text)
    with running(tmp_path, port, *words):
        address, scheme, host, forwarded, real = told(port)
        assert (address, scheme, forwarded, real) == ("127.0.0.7", "http", None, None)
        assert host == "shop.example"
        streams_and_talks(port)
