"""The guide to the hub (``docs/mercure.rst``), done as it says: its commands, its options, its programs.

They are taken from the text itself, so a change of either is seen. The hub's port alone is the test's own.
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import pytest

from hardhttp.wire.eventstream import Event
from tests.sse.interop import PATH, Stream, wire_to
from tests.twistd_process import PATIENCE_SECONDS, ROOT, Server

pytestmark = pytest.mark.slow  # it starts real processes

GUIDE = (ROOT / "docs" / "mercure.rst").read_text("utf-8")
BOOK = "https://example.com/books/1"
PHP = "<?php require 'Symfony/Component/Mercure/autoload.php';\n"


def blocks(language: str, containing: str) -> str:
    """The one block of code in that language which has these words."""
    pattern = rf"^( *)\.\. code-block:: {language}\n\n((?:\1   .*\n|\n)+)"
    found = [textwrap.dedent(body) for _, body in re.findall(pattern, GUIDE, re.M) if containing in body]
    assert len(found) == 1, (language, containing, found)
    return found[0].strip() + "\n"


@attrs.frozen
class Guided:
    """A reader's folder and shell, and the hub he has started."""

    folder: Path
    server: Server
    environment: dict[str, str]

    def run(self, script: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-euc", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_until(self, command: str, enough: bytes) -> bytes:
        """What a command that does not end by itself has said when it has said ``enough``."""
        running = subprocess.Popen(
            ["/bin/sh", "-c", f"exec timeout {PATIENCE_SECONDS:.0f} {command}"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
        )
        assert running.stdout is not None
        with running, running.stdout:
            said = b""
            while enough not in said and (piece := running.stdout.read1(65536)):  # type: ignore[attr-defined]
                said += piece
            running.terminate()
        return said

    def program(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def subscribe(self, topic: str, last_event_id: str = "") -> Stream:
        return Stream(self.server.port, topic, last_event_id).wait_for_hello()


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guided]:
    folder = tmp_path_factory.mktemp("reader")
    begin = blocks("sh", "twistd -n hardhttp --listen").replace("\\\n", "")
    commands = [shlex.split(line) for line in begin.splitlines()]
    pip, openssl, twistd = commands[0], begin.splitlines()[1:3], commands[3]
    assert pip == ["pip", "install", "hardhttp[mercure]"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (folder / "web").mkdir()
    subprocess.run(["/bin/sh", "-euc", "\n".join(openssl)], cwd=folder, check=True, capture_output=True)
    assert twistd[:4] == ["twistd", "-n", "hardhttp", "--listen"]
    server = Server(folder, *twistd[5:])
    try:
        environment = {**os.environ, "PATH": path, "HUB": server.url + PATH}
        guided = Guided(folder, server, environment)
        guided.program("make_token.py", blocks("python", "jwt.encode"))
        exported = guided.run(blocks("sh", "export TOKEN=") + 'printf "%s\\n%s" "$TOKEN" "$READER"')
        environment["TOKEN"], environment["READER"] = exported.split("\n")
        yield guided
    finally:
        server.close()


def published(guided: Guided, stream: Stream, said: str) -> list[Event]:
    """The events whose ids were printed, one after another, as a subscriber has them."""
    ids = re.findall(r"[a-z]{8}-\d+", said)
    events = stream.wait(len(ids))
    assert [event.id for event in events] == ids
    return events


def test_curl_subscribes(guided: Guided) -> None:
    command = next(line for line in blocks("sh", "export HUB=").splitlines() if line.startswith("curl"))
    assert guided.run_until(command, b"retry: ").startswith(b":\n")


def test_curl_publishes(guided: Guided) -> None:
    book, mail = guided.subscribe(BOOK), guided.subscribe("https://example.com/users/7/mail")
    first, second = re.findall(r"[a-z]{8}-\d+", guided.run(blocks("sh", "--data-urlencode")))
    (event,) = published(guided, book, first)
    assert (event.type, json.loads(event.data)) == ("message", {"title": "Emma"})
    # The second is private. Whoever has the reader's token gets it, from the history too.
    command = f'curl -sN -H "Authorization: Bearer $READER" -H "Last-Event-ID: {first}"'
    expected = f"event: mail\nid: {second}\ndata: 3\n\n".encode()
    assert expected in guided.run_until(f'{command} "$HUB?topic=https://example.com/users/7/mail"', expected)
    guided.run('curl -sf -H "Authorization: Bearer $TOKEN" -d topic=https://example.com/users/7/mail -d data=4 $HUB')
    assert [event.data for event in mail.wait(1)] == ["4"]
    book.close()
    mail.close()


@pytest.mark.parametrize(
    ("containing", "title"), [("urlopen", "Persuasion"), ("treq.post", "Lady Susan")], ids=["urllib", "treq"]
)
def test_python_publishes(guided: Guided, containing: str, title: str) -> None:
    stream = guided.subscribe(BOOK)
    guided.program("publish.py", blocks("python", containing))
    (event,) = published(guided, stream, guided.run("python publish.py"))
    assert json.loads(event.data) == {"title": title}
    stream.close()


@pytest.mark.slow
def test_php_publishes(guided: Guided) -> None:
    """The component itself, as Debian has it."""
    if shutil.which("php") is None or not Path("/usr/share/php/Symfony/Component/Mercure/autoload.php").exists():
        pytest.fail("needs php and php-symfony-mercure")
    stream = guided.subscribe(BOOK)
    guided.program("publish.php", PHP + blocks("php", "Symfony") + "echo $id;")
    (event,) = published(guided, stream, guided.run("php publish.php"))
    assert json.loads(event.data) == {"title": "Sanditon"}
    # And all that an update of it may have.
    every = "new Update(['https://example.com/books/1', '/other'], \"drei:\\näöü €\", false, 'php.1', 'sold', 1500)"
    text = re.sub(r"new Update\(.*\)\);", f"{every});", blocks("php", "Symfony"))
    guided.program("publish.php", PHP + text + "echo $id;")
    other = guided.subscribe("/other")
    assert guided.run("php publish.php") == "php.1"
    assert stream.wait(1) == other.wait(1) == [Event("sold", "drei:\näöü €", "php.1", 1500)]
    private = re.sub(r"new Update\(.*\)\);", "new Update('/other', 'hush', true));", blocks("php", "Symfony"))
    guided.program("publish.php", PHP + private + "echo $id;")
    assert guided.run("php publish.php")
    guided.run('curl -sf -H "Authorization: Bearer $TOKEN" -d topic=/other -d data=open $HUB')
    assert [event.data for event in other.wait(1)] == ["open"]
    stream.close()
    other.close()


def test_python_subscribes_and_comes_back(guided: Guided) -> None:
    def publish(**fields: Any) -> None:
        form = " ".join(f"--data-urlencode '{name}={value}'" for name, value in fields.items())
        guided.run(f'curl -sf -H "Authorization: Bearer $TOKEN" -d topic={BOOK} {form} $HUB')

    program = guided.program("listen.py", blocks("python", "connect_sse"))
    with wire_to(guided.server.port) as wire:
        environment = {**guided.environment, "HUB": f"http://127.0.0.1:{wire.port}{PATH}"}
        listening = subprocess.Popen([sys.executable, program], env=environment, stdout=subprocess.PIPE, text=True)
        watch = threading.Timer(PATIENCE_SECONDS, listening.kill)
        watch.start()
        try:
            assert listening.stdout is not None
            while not select.select([listening.stdout], [], [], 0.05)[0]:
                publish(data="there", retry=20)  # it may not be listening yet
                assert listening.poll() is None
            assert wire.cut() == 1
            publish(data="missed", type="sold")
            publish(data="last")
            said = list(islice((line for line in listening.stdout if "there" not in line), 2))
            assert said == ["sold missed\n", "message last\n"]
        finally:
            watch.cancel()
            listening.kill()
            listening.wait()
            listening.stdout.close()  # type: ignore[union-attr]
