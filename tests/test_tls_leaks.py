"""With the collector off, TLS connections of every kind leave nothing behind (P1, P5)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT

RENEWALS_EVERY = 10
# Of pyOpenSSL's, one set for each context that has ever been: a circle of its own, once for a renewal.
OF_A_CONTEXT = {
    "OpenSSL.SSL._ALPNSelectHelper",
    "_cffi_backend.__CDataOwnGC",
    "builtins.cell",
    "builtins.dict",
    "builtins.list",
    "builtins.tuple",
    "zope.interface.Provides",
}


@pytest.mark.parametrize("count", [20, pytest.param(2000, marks=pytest.mark.slow)])
def test_nothing_waits_for_the_collector(count: int) -> None:
    words = [sys.executable, "-m", "tests.tls_leak_server", str(count)]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["open"] == 0
    assert found["ledger"]
    assert found["closed"]["tls-handshake"] >= 4 * count
    live = {name for name in found["live"] if not name.startswith("hardhttp.net.certif")}
    assert live <= {"OpenSSL.SSL.Context", "OpenSSL.SSL._ALPNSelectHelper"}
    assert found["live"]["OpenSSL.SSL.Context"] <= 2
    others = {name for name in found["found"] if "_ALPNSelectHelper" not in name}
    assert others <= OF_A_CONTEXT
    assert found["found"].get("OpenSSL.SSL._ALPNSelectHelper", 0) <= 3 * count / RENEWALS_EVERY
