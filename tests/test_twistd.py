"""``twistd hardhttp`` as it is run: a process of its own, asked by clients of their own."""

from __future__ import annotations

import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hardhttp.tap.checks import SPARE_DESCRIPTORS
from tests.listening import listens
from tests.twistd_process import PATIENCE_SECONDS, Server, ended_as_twistd_does, run

APP = """
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    from twisted.web.resource import Resource

    class Slow(Resource):
        isLeaf = True

        async def render_GET(self, request):
            request.write(b"begun ")
            await deferLater(reactor, float(request.args[b"seconds"][0]), lambda: None)
            request.write(b"x" * 100_000)
            return b" ended"

    class Broken(Resource):
        isLeaf = True

        def render_GET(self, request):
            raise RuntimeError("a secret of the application")

    class Root(Resource):
        def getChild(self, name, request):
            if name == b"leaf":
                return Leaf()
            return self

        def render_GET(self, request):
            return b"the application at " + request.path

        def render_POST(self, request):
            return b"%d bytes" % len(request.content.read())

    class Leaf(Resource):
        isLeaf = True

        def render_GET(self, request):
            return b"a leaf, and " + b"/".join(request.postpath)

    def root():
        tree = Root()
        tree.putChild(b"slow", Slow())
        tree.putChild(b"broken", Broken())
        return tree
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers in the test's own directory, and ends those that are left."""
    started: list[Server] = []
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))

    def begin(*options: str) -> Server:
        started.append(Server(tmp_path, *options))
        return started[-1]

    yield begin
    for server in started:
        server.close()


# -- the welcome page --------------------------------------------------------------------------


def test_the_welcome_page(start) -> None:
    server = start()
    status, page = server.get("/")
    assert status == 200
    assert b"hardhttp is running" in page
    status, body = server.get("/figures")
    figures = json.loads(body)
    assert figures["statistics"]["requests"] == 1
    assert figures["statistics"]["connections"] == 1
    assert figures["limits"]["max_connections"] == 1000
    assert all(isinstance(amount, int) for amount in figures["ledger"].values())
    assert server.get("/nothing")[0] == 404
    assert ended_as_twistd_does(server.stop())


@pytest.mark.slow
def test_curl(start) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.fail("needs curl")
    server = start()
    assert (
        b"hardhttp is running"
        in subprocess.run([curl, "-sSf", f"{server.url}/"], capture_output=True, check=True).stdout
    )
    streamed = subprocess.run([curl, "-sN", "--max-time", "1.4", f"{server.url}/events"], capture_output=True).stdout
    assert re.search(rb"^data: *\{", streamed, re.M)


@pytest.mark.slow
def test_the_figures_stream_while_somebody_listens(start) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while not re.search(rb"\ndata:.*\n\n", received):
            received += client.recv(65536)
        assert b"text/event-stream" in received.partition(b"\r\n\r\n")[0].lower()
        first = json.loads(re.findall(rb"^data: *(\{.*\})", received, re.M)[0])
        assert first["statistics"]["connections"] == 1
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert b"retry:" in read_all(client)  # the server ends the stream, and says when to come back
        assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))
        assert time.monotonic() - began < 10


# -- files and applications --------------------------------------------------------------------


@pytest.fixture
def public(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    for name in ("deep", ".git", ".well-known", "indexed"):
        (folder / name).mkdir(parents=True)
    (folder / "a.txt").write_text("a file")
    (folder / "LICENSE").write_text("<script>")
    (folder / "deep" / "b.txt").write_text("a deep file")
    (folder / "indexed" / "index.html").write_text("an index")
    (folder / ".git" / "config").write_text("secret")
    (folder / ".env").write_text("secret")
    (folder / ".well-known" / "proof").write_text("proof")
    (tmp_path / "outside.txt").write_text("secret")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.slow
def test_a_webroot(start, public: Path) -> None:
    server = start("--webroot=public")
    assert server.get("/a.txt") == (200, b"a file")
    assert server.get("/deep/b.txt") == (200, b"a deep file")
    assert server.get("/indexed/") == (200, b"an index")
    assert server.get("/.well-known/proof") == (200, b"proof")
    for refused in (
        "/",
        "/deep/",
        "/none",
        "/.env",
        "/.git/config",
        "/pipe",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/deep/..%2f..%2foutside.txt",
        "/a.txt%00",
        "/%ff",
    ):
        status, body = server.get(refused)
        assert status in (400, 403, 404), refused
        assert b"secret" not in body
    assert server.get("/LICENSE") == (200, b"<script>")
    assert server.headers["content-type"] == "application/octet-stream"
    (public / "new.txt").write_text("new")
    assert server.get("/new.txt") == (200, b"new")
    (public / "index.html").write_text("home")
    assert server.get("/") == (200, b"home")


@pytest.mark.slow
def test_one_range_is_honoured_and_a_thousand_are_not(start, public: Path) -> None:
    server = start("--webroot=public")
    assert server.get("/a.txt", Range="bytes=2-") == (206, b"file")
    assert server.get("/a.txt", Range="bytes=" + ",".join(["0-"] * 1000)) == (200, b"a file")


@pytest.mark.slow
def test_an_application(start) -> None:
    server = start("--app=shop:root")
    assert server.get("/any/path") == (200, b"the application at /any/path")
    assert server.get("/", "POST", b"x" * 1000) == (200, b"1000 bytes")
    assert server.get("/leaf/a/b") == (200, b"a leaf, and a/b")


@pytest.mark.slow
def test_files_over_an_application(start, public: Path) -> None:
    server = start("--app=shop:root", "--webroot=public")
    assert server.get("/a.txt") == (200, b"a file")
    assert server.get("/deep/b.txt") == (200, b"a deep file")
    assert server.get("/deep/none")[0] == 404
    for path in ("/", "/b.txt", "/.env", "/.git/config", "/pipe"):
        assert server.get(path) == (200, f"the application at {path}".encode())


@pytest.mark.slow
def test_files_over_an_application_that_is_one_leaf(start, public: Path) -> None:
    server = start("--app=shop:Leaf", "--webroot=public")
    assert server.get("/a.txt") == (200, b"a file")
    assert server.get("/b/c") == (200, b"a leaf, and b/c")
    assert server.get("/") == (200, b"a leaf, and ")


@pytest.mark.slow
def test_limits_reach_the_server(start) -> None:
    server = start("--app=shop:root", "--max-body-bytes=1k", "--max-target-bytes=64")
    assert server.get("/", "POST", b"x" * 1024) == (200, b"1024 bytes")
    assert server.get("/", "POST", b"x" * 1025)[0] == 413
    assert server.get("/" + "x" * 64)[0] == 414


@pytest.mark.slow
def test_development_alone_shows_tracebacks(start) -> None:
    status, body = start("--app=shop:root").get("/broken")
    assert status == 500
    assert b"secret" not in body
    server = start("--app=shop:root", "--development")
    server.wait_for("error pages show tracebacks")
    status, body = server.get("/broken")
    assert status == 500
    assert b"a secret of the application" in body


@pytest.mark.slow
@pytest.mark.parametrize("where", ["file", "-"])
def test_an_access_log(start, tmp_path: Path, where: str) -> None:
    server = start("--app=shop:root", f"--access-log={tmp_path / 'access.log' if where == 'file' else where}")
    server.get("/a?b=c", **{"User-Agent": 'x"y', "Authorization": "Basic c2VjcmV0", "Referer": "http://example.org/"})
    server.get("/broken")
    assert ended_as_twistd_does(server.stop())
    lines = (tmp_path / ("access.log" if where == "file" else "server.log")).read_text().splitlines()
    found = [line for line in lines if line.startswith("127.0.0.1 - - [")]
    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[[^]]+\] "GET /a\?b=c HTTP/1\.1" 200 21 "http://example\.org/" "x\\x22y" [\d.]+ - -',
        found[0],
    )
    (bears,) = re.findall(r'"GET /broken HTTP/1\.1" 500 .* ([0-9a-f]{16}) -$', found[1])
    assert bears in (tmp_path / "server.log").read_text()
    assert len(found) == 2


# -- listening ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_endpoints_and_a_line_for_each(start, tmp_path: Path) -> None:
    server = start(f"--listen=unix:{tmp_path / 'sock'}")
    server.wait_for(re.escape(str(tmp_path / "sock")))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.connect(str(tmp_path / "sock"))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert server.get("/")[0] == 200
    assert ended_as_twistd_does(server.stop())
    assert not (tmp_path / "sock").exists()


@pytest.mark.slow
def test_a_busy_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "-n", "hardhttp", f"--listen=tcp:{port}:interface=127.0.0.1")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("hardhttp cannot start: ")
    assert f"127.0.0.1:{port}" in line
    assert not (tmp_path / "twistd.pid").exists()


@pytest.mark.slow
def test_a_busy_port_behind_a_free_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = ["--listen=tcp:0:interface=127.0.0.1", f"--listen=tcp:{port}:interface=127.0.0.1"]
        done = run(tmp_path, "-n", "--pidfile=", "hardhttp", *listen)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr


WORKERS = ("--workers=1",)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), WORKERS])
@pytest.mark.parametrize("which", ["listen", "admin"])
def test_a_busy_port_behind_one_that_is_ours(tmp_path: Path, which: str, more: tuple[str, ...]) -> None:
    """It is the busy one that is named, and not ours, tried again; and no file of a socket is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, ours = taken.getsockname()[1], other.getsockname()[1]
        other.close()
        listen = [f"--listen=tcp:{ours}:interface=127.0.0.1", "--listen=unix:sock", *more]
        done = run(tmp_path, "-n", "--pidfile=", "hardhttp", *listen, f"--{which}=tcp:{port}:interface=127.0.0.1")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert not [*tmp_path.glob("sock*")]


@pytest.mark.slow
def test_a_busy_port_is_told_by_the_one_who_goes_to_the_background(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "--logfile=twistd.log", "hardhttp", f"--listen=tcp:{port}:interface=127.0.0.1")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    # What is in the background ends in its own time.
    log, pid = tmp_path / "twistd.log", tmp_path / "twistd.pid"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (pid.exists() or f"127.0.0.1:{port}" not in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert f"127.0.0.1:{port}" in log.read_text()
    assert not pid.exists()


# -- what it refuses ---------------------------------------------------------------------------


@pytest.mark.slow
def test_twistd_lists_it(tmp_path: Path) -> None:
    assert re.search(r"^ +hardhttp +A bounded HTTP", run(tmp_path, "--help").stdout, re.M)
    assert "--max-connections=1000" in run(tmp_path, "hardhttp", "--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-connections=0"], "--max-connections is 0; it must be from 1 to 1,000,000"),
        (["--listen=tcp:http"], "--listen 'tcp:http': "),
        (["--webroot=none"], "is not a directory"),
        (["--app=none:root"], "there is no module 'none'"),
        (["--access-log=none/access.log"], "cannot be written"),
    ],
)
def test_a_wrong_option_ends_with_what_is_wrong(tmp_path: Path, words: list[str], said: str) -> None:
    done = run(tmp_path, "-n", "hardhttp", *words)
    assert done.returncode == 1
    assert said in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_it_does_not_start_with_too_few_descriptors(tmp_path: Path) -> None:
    done = run(tmp_path, "-n", "hardhttp", shell='ulimit -n 200; exec "$@"')
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert "--max-connections 1000 needs 1024 descriptors" in last
    assert "may open 200" in last
    assert "ulimit -n 1024" in last
    assert "--max-connections 176" in last


@pytest.mark.slow
def test_the_connections_it_judged_to_fit_do_fit(start) -> None:
    """All of them at once, each answered, and one more refused, with no descriptor but those judged."""
    if not hasattr(resource, "prlimit"):
        pytest.fail("needs prlimit")
    server = start("--max-connections=40", "--access-log=access.log", "--listen=tcp:0:interface=127.0.0.2")
    needed = 40 + SPARE_DESCRIPTORS
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (needed, needed))
    with ExitStack() as clients:
        for expected in [b"200"] * 40 + [b"503"]:
            client = clients.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS))
            client.sendall(b"GET /figures HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(12)[9:] == expected


# -- stopping ----------------------------------------------------------------------------------


def slow_request(server: Server, seconds: float) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
    client.sendall(b"GET /slow?seconds=%f HTTP/1.1\r\nHost: localhost\r\n\r\n" % seconds)
    received = b""
    while b"begun" not in received:
        received += client.recv(65536)
    return client


def read_all(client: socket.socket) -> bytes:
    received = b""
    while piece := client.recv(1 << 20):
        received += piece
    return received


@pytest.mark.slow
def test_a_response_in_flight_ends_whole(start) -> None:
    server = start("--app=shop:root")
    idle = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
    with slow_request(server, 1.0) as client, idle:
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        received = read_all(client)
        assert received.count(b"x" * 1000) == 100
        assert b" ended" in received
        assert received.endswith(b"0\r\n\r\n")
        assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))
        assert 0.9 < time.monotonic() - began < 10


@pytest.mark.slow
def test_nobody_is_let_in_while_it_drains(start) -> None:
    server = start("--app=shop:root")
    with slow_request(server, 1.0):
        assert listens(server.port, server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("Received SIGTERM")
        time.sleep(0.2)
        assert not listens(server.port, server.process.pid)
        assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))


@pytest.mark.slow
def test_a_response_that_does_not_end_is_cut_at_drain_seconds(start) -> None:
    server = start("--app=shop:root", "--drain-seconds=1s", "--abort-seconds=1s")
    with slow_request(server, 600) as client:
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        try:
            assert b" ended" not in read_all(client)
        except ConnectionResetError:
            pass
        assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))
        assert 0.9 < time.monotonic() - began < 10


@pytest.mark.slow
def test_the_log_is_reopened_at_a_hangup(start, tmp_path: Path) -> None:
    server = start("--access-log=access.log", "--access-log-format=json")
    log = tmp_path / "access.log"
    server.get("/before")
    log.rename(tmp_path / "access.log.1")
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    server.get("/after")
    server.stop()
    (before,) = (json.loads(line) for line in (tmp_path / "access.log.1").read_text().splitlines())
    (after,) = (json.loads(line) for line in log.read_text().splitlines())
    assert (before["target"], after["target"]) == ("/before", "/after")


@pytest.mark.slow
def test_sessions_survive_a_restart(start, tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(
        textwrap.dedent("""
            from hardhttp.web.routing import Router

            root = Router()

            @root.get("/")
            def count(request):
                request.session["n"] = request.session.get("n", 0) + 1
                return {"n": request.session["n"]}
            """)
    )
    words = "--app=counter:root", "--session-store=sqlite:sessions.db"
    cookie = ""
    for expected in (1, 2, 3):
        server = start(*words)
        status, body = server.get("/", Cookie=cookie)
        assert (status, json.loads(body)) == (200, {"n": expected})
        cookie = server.headers.get("Set-Cookie", cookie).partition(";")[0]
        assert ended_as_twistd_does(server.stop())


# -- a configuration file ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_configuration_file_is_read_again(start, tmp_path: Path) -> None:
    config = tmp_path / "hardhttp.toml"
    config.write_text("max-target-bytes = 100\n")
    server = start("--config=hardhttp.toml")
    assert server.get("/" + "a" * 100)[0] == 414
    config.write_text("max-target-bytes = 1000\nwebroot = 'public'\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("read again: changed: max-target-bytes")
    server.wait_for("these change with the next start alone: webroot")
    assert server.get("/" + "a" * 100)[0] == 404
    config.write_text("max-target-bytes = 'many'\n")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("the configuration stays as it was: .*hardhttp.toml, line 1: --max-target-bytes: 'many'")
    assert server.get("/" + "a" * 100)[0] == 404
    assert ended_as_twistd_does(server.stop())


@pytest.mark.slow
def test_sighup_ends_no_server_that_has_no_file(start) -> None:
    server = start()
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("SIGHUP: there is no file of --config to read again")
    assert server.get("/")[0] == 200
    assert ended_as_twistd_does(server.stop())


@pytest.mark.slow
def test_check_says_by_its_status_whether_it_would_start(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("max-connections = 100\n")
    done = run(tmp_path, "hardhttp", "--config=a.toml", "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'max-connections = "100"' in done.stdout
    done = run(tmp_path, "hardhttp", "--config=a.toml", "--check", "--webroot=none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"--webroot {tmp_path}/none is not a directory\n"


# -- the admin side and the log ------------------------------------------------------------------


def admin_port(server: Server) -> int:
    return int(server.wait_for(r"the admin side is at port (\d+)")[1])


def ask_admin(port: int, path: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    client.request("GET", path)
    response = client.getresponse()
    answer = response.status, response.read()
    client.close()
    return answer


@pytest.mark.slow
def test_the_admin_side_tells_of_a_drain_and_of_a_stall(start, tmp_path: Path) -> None:
    (tmp_path / "stalls.py").write_text(
        "import time\nfrom twisted.web.resource import Resource\n"
        "class Stalls(Resource):\n"
        "    isLeaf = True\n"
        "    def render_GET(self, request):\n"
        "        if request.path == b'/later':\n"
        "            return 1\n"
        "        time.sleep(0.5)\n"
        "        return b'late'\n"
    )
    server = start("--app=stalls:Stalls", "--admin=tcp:0:interface=127.0.0.1")
    port = admin_port(server)
    assert ask_admin(port, "/readyz")[0] == 200
    server.get("/?token=sesame")
    server.wait_for(r"the reactor was held for 0\.\d+ s by stalls\.Stalls, at .*stalls\.py:8 Stalls\.render_GET")
    (stall,) = [each for each in json.loads(ask_admin(port, "/stalls")[1])["stalls"] if each["seconds"] > 0.3]
    assert (stall["resource"], stall["request"]) == ("stalls.Stalls", "GET /?token=***")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as client:
        client.sendall(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        while not json.loads(ask_admin(port, "/connections")[1])["connections"]:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        while ask_admin(port, "/readyz")[0] == 200:
            time.sleep(0.01)
        assert ask_admin(port, "/healthz")[0] == 200
    assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))


@pytest.mark.slow
def test_a_second_server_goes_on_without_the_default_port(start) -> None:
    first, second = start(), start()
    said = first.log.read_text() + second.log.read_text()
    assert said.count("the admin side is at port 8081") <= 1
    assert "there is no admin side: " in second.log.read_text()
    assert second.get("/")[0] == 200


@pytest.mark.slow
def test_the_log_as_json(start) -> None:
    server = start("--log-format=json", "--admin=none", "--app=shop:root")
    server.get("/broken?token=sesame")
    server.get("/", Host="a b")
    server.wait_for("bad-host")
    assert ended_as_twistd_does(server.stop())
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (failed,) = [line for line in lines if "traceback" in line]
    assert failed["request"] in failed["message"]
    (refused,) = [line for line in lines if line.get("reason") == "bad-host"]
    assert refused["level"] == "info"
    assert "sesame" not in server.log.read_text()


@pytest.mark.slow
def test_an_admin_port_that_was_asked_for_is_needed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"--admin=tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        done = run(tmp_path, "-n", "--pidfile=", "hardhttp", "--listen=tcp:0:interface=127.0.0.1", where)
    assert done.returncode == 1
    assert "hardhttp cannot start: " in done.stderr
