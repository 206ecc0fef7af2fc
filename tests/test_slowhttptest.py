"""slowhttptest against ``twistd hardhttp``: an honest client is answered throughout, and nothing is left."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.twistd_process import PATIENCE_SECONDS, Server

pytestmark = pytest.mark.slow

CONNECTIONS = 200
ATTACK_SECONDS = 10
LOOK_SECONDS = 0.1
# An honest answer takes a millisecond; this is what a loaded machine may add.
ANSWER_SECONDS = 1.0

APP = """
    from twisted.web.resource import Resource

    class Page(Resource):
        isLeaf = True

        def render_GET(self, request):
            return b"x" * 1_000_000 if request.path == b"/large" else b"here"

        def render_POST(self, request):
            return b"%d" % len(request.content.read())

    class Figures(Resource):
        isLeaf = True

        def render_GET(self, request):
            import json
            return json.dumps(request.site.ledger.snapshot()).encode()

    class Root(Resource):
        def getChild(self, name, request):
            return Page()

    root = Root()
    root.putChild(b"ledger", Figures())
"""
ATTACKS = {
    "slow headers": ["-H", "-i", "1"],
    "slow bodies": ["-B", "-i", "1", "-s", "8192"],
    "slow reading": ["-X", "-k", "3", "-n", "1", "-w", "512", "-y", "1024", "-z", "32"],
    "ranges": ["-R", "-t", "HEAD", "-a", "10", "-b", "3000"],
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    limits = ["--head-seconds=3", "--body-seconds=3", "--send-seconds=3", "--abort-seconds=1", "--idle-seconds=3"]
    started = Server(tmp_path, "--app=shop:root", *limits)
    yield started
    started.close()


def ledger(server: Server) -> dict[str, int]:
    held: dict[str, int] = json.loads(server.get("/ledger")[1])
    return held


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_service_stays_available(server: Server, tmp_path: Path, attack: str) -> None:
    tool = shutil.which("slowhttptest")
    assert tool is not None, "needs slowhttptest"
    before = ledger(server)
    url = f"{server.url}/large" if attack == "slow reading" else f"{server.url}/"
    words = [tool, *ATTACKS[attack], "-c", str(CONNECTIONS), "-r", "100", "-l", str(ATTACK_SECONDS), "-u", url]
    attackers = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    slowest, answers, most = 0.0, 0, 0
    try:
        until = time.monotonic() + ATTACK_SECONDS + 2
        while time.monotonic() < until and (attackers.poll() is None or answers < 30):
            began = time.monotonic()
            honest = http.client.HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_SECONDS)
            honest.request("GET", "/ledger")
            response = honest.getresponse()
            assert response.status == 200
            most = max(most, json.loads(response.read())["connections"])
            honest.close()
            slowest = max(slowest, time.monotonic() - began)
            answers += 1
            time.sleep(LOOK_SECONDS)
    finally:
        attackers.terminate()
        said = attackers.communicate(timeout=PATIENCE_SECONDS)[0].decode(errors="replace")
    print(f"{attack}: {answers} answers, the slowest in {slowest * 1000:.0f} ms, {most} connections at most")
    assert answers >= 30
    assert most > CONNECTIONS / 4 or attack == "ranges", said[-2000:]
    deadline = time.monotonic() + 8
    while (left := ledger(server)) != before:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
