"""The npm package ``eventsource``, two generations of it, and what it says.

The versions stand in ``npm/package-lock.json``; they are installed into a folder of the test's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PACKAGES", "install", "listening"]

# Over fetch, and over Node's own http.
PACKAGES = ["eventsource", "eventsource2"]
PATIENCE_SECONDS = 30
LISTEN = """
import * as module from "%s";
const EventSource = module.EventSource ?? module.default;
const source = new EventSource(process.argv[2]);
const say = event => console.log(JSON.stringify([event.type, event.data, event.lastEventId]));
source.onopen = () => console.log(JSON.stringify("open"));
source.onmessage = say;
for (const type of ["sold", "gap"]) source.addEventListener(type, say);
"""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"needs {name}")
    return found


def install(folder: Path) -> None:
    shutil.copytree(Path(__file__).parent / "npm", folder, dirs_exist_ok=True)
    command = [program("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@contextmanager
def listening(folder: Path, package: str, url: str) -> Iterator[Iterator[Any]]:
    """What it says: ``"open"``, or type, data and id of an event. It is killed when it says nothing for too long."""
    script = folder / f"{package}.mjs"
    script.write_text(LISTEN % package)
    process = subprocess.Popen([program("node"), script.name, url], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    watch = threading.Timer(PATIENCE_SECONDS, process.kill)
    watch.start()
    try:
        yield (json.loads(line) for line in process.stdout)
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
