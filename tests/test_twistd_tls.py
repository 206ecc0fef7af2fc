"""``twistd hardhttp`` with TLS, as curl and openssl see it."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest

from tests import twistd_process
from tests.certificates import Authority
from tests.listening import free_port
from tests.twistd_process import PATIENCE_SECONDS, Server, ended_as_twistd_does


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def start(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts servers in the test's own directory, with certificates in ``live``; ends those that are left."""
    for program in ("curl", "openssl"):
        if shutil.which(program) is None:
            pytest.fail(f"needs {program}")
    monkeypatch.setitem(twistd_process.ENVIRONMENT, "XDG_DATA_HOME", str(tmp_path / "home"))
    for name in ("a.example", "b.example"):
        authority.issue(name).certbot(tmp_path / "live" / name)
    started: list[Server] = []

    def begin(*options: str) -> Server:
        started.append(Server(tmp_path, *options))
        return started[-1]

    yield begin
    for server in started:
        server.close()


def tls_port(server: Server) -> int:
    return int(server.wait_for(r"https://127\.0\.0\.1:(\d+)/")[1])


def curl(*words: str) -> str:
    done = subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    return done.stdout + done.stderr


def openssl(port: int, *words: str) -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_curl_and_openssl(start, authority: Authority) -> None:
    server = start("--listen=tls:0:live:interface=127.0.0.1", "--hsts=5m", "--compress")
    port = tls_port(server)
    for name in ("a.example", "b.example"):
        said = curl(
            *("--cacert", str(authority.path), "--resolve", f"{name}:{port}:127.0.0.1"),
            *("-D", "-", "-o", "/dev/null", "-w", "%{http_code} %{ssl_verify_result}", f"https://{name}:{port}/"),
        )
        assert said.endswith("200 0")
        assert "strict-transport-security: max-age=300\n" in said.lower().replace("\r", "")
        shown = openssl(port, "-servername", name, "-CAfile", str(authority.path), "-verify_return_error")
        assert f"subject=CN = {name}" in shown
        assert "Verify return code: 0 (ok)" in shown
    assert "strict-transport-security" not in curl("-D", "-", f"{server.url}/").lower()
    shown = openssl(port, "-tls1_2", "-alpn", "spdy/3,http/1.1")
    assert "ALPN protocol: http/1.1" in shown
    assert "Cipher is ECDHE-ECDSA-AES128-GCM-SHA256" in shown
    assert "Compression: NONE" in shown
    assert re.search(r"TLS session ticket lifetime hint: 14400 ", shown)
    for words, alert in (
        (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "alert protocol version"),
        (["-alpn", "imap"], "alert no application protocol"),
        (["-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384"], "alert handshake failure"),
    ):
        assert alert in openssl(port, *words)
    # A client may ask to begin anew, and is not heard (CVE-2011-1473).
    again = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"],
        input="R\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert "no renegotiation" in again.stderr + again.stdout
    assert ended_as_twistd_does(server.stop())


@pytest.mark.slow
def test_plain_http_leads_to_tls(start, authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "acme" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("token.thumbprint")
    port = free_port()
    server = start(
        f"--listen=tls:{port}:live:interface=127.0.0.1", "--redirect-to-https", f"--acme-challenge={tmp_path / 'acme'}"
    )
    resolve = [word for each in (server.port, port) for word in ("--resolve", f"a.example:{each}:127.0.0.1")]
    trust = [*resolve, "--cacert", str(authority.path)]
    plain = f"http://a.example:{server.port}"
    asked = curl(*trust, "-L", "-o", "/dev/null", "-w", "%{url_effective} %{http_code} %{num_redirects}", f"{plain}/")
    assert asked == f"https://a.example:{port}/ 200 1"
    assert curl(*trust, f"{plain}/.well-known/acme-challenge/token") == "token.thumbprint"
    assert server.get("/")[0] == 421


@pytest.mark.slow
def test_clients_show_a_certificate(start, authority: Authority, tmp_path: Path) -> None:
    authority.issue(common_name="ann").pem(tmp_path / "ann.pem")
    (tmp_path / "who.py").write_text(
        "from twisted.web.resource import Resource\n"
        "class Who(Resource):\n"
        "    isLeaf = True\n"
        "    def render_GET(self, request):\n"
        "        return request.client_certificate.subject.encode()\n"
    )
    server = start(
        "--app=who:Who", "--listen=tls:0:live:interface=127.0.0.1", f"--tls-client-ca={authority.path}"
    )  # fmt: skip
    port = tls_port(server)
    where = ["--cacert", str(authority.path), "--resolve", f"a.example:{port}:127.0.0.1", f"https://a.example:{port}/"]
    assert curl("--cert", str(tmp_path / "ann.pem"), *where) == "CN=ann"
    assert curl(*where).startswith("curl: (")  # of the alert, or that the connection is gone already
    server.wait_for(r"a TLS handshake failed: peer did not return a certificate \(tls-handshake, from 127.0.0.1\)")


def serial_of(port: int) -> int:
    """The certificate that a new client is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname="a.example") as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    from cryptography import x509

    return x509.load_der_x509_certificate(shown).serial_number


@pytest.mark.slow
def test_sighup_under_load_loses_nobody(start, authority: Authority, tmp_path: Path) -> None:
    """Clients that stay and clients that come ask on while certificates change; every one is answered."""
    server = start("--listen=tls:0:live:interface=127.0.0.1")
    port = tls_port(server)
    context = ssl.create_default_context(cafile=str(authority.path))
    ending, faults, answered = Event(), [], []

    def client(stays: bool) -> None:
        try:
            while not ending.is_set():
                connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS, context=context)
                raw = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
                connection.sock = context.wrap_socket(raw, server_hostname="a.example")
                with closing(connection):
                    while True:
                        connection.request("GET", "/figures", headers={"Host": "a.example"})
                        response = connection.getresponse()
                        answered.append(response.read() and response.status)
                        if ending.is_set() or not stays:
                            break
        except Exception as fault:
            faults.append(fault)

    threads = [Thread(target=client, args=(stays,)) for stays in (True, True, False, False)]
    for thread in threads:
        thread.start()
    try:
        for count in range(4):
            new = authority.issue("a.example")
            new.certbot(tmp_path / "live" / "a.example")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(re.escape(f"live/a.example/fullchain.pem, {fingerprint(new)}"))
            assert serial_of(port) == new.leaf.serial_number
            assert not faults, count
    finally:
        ending.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    assert faults == []
    assert set(answered) == {200}


def fingerprint(issued) -> str:
    from cryptography.hazmat.primitives import hashes

    return issued.leaf.fingerprint(hashes.SHA256()).hex(":").upper()


@pytest.mark.slow
def test_development(start, tmp_path: Path) -> None:
    server = start("--tls-development", "--listen=tls:0")
    port = tls_port(server)
    path = tmp_path / "home" / "hardhttp" / "development" / "localhost.pem"
    server.wait_for(re.escape(f"a certificate was made: {path}, good for localhost, "))
    shown = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"], capture_output=True)
    server.wait_for("its SHA-256 fingerprint is " + shown.stdout.decode().strip().partition("=")[2])
    for host in ("localhost", "127.0.0.1"):
        said = curl("-4", "--cacert", str(path), "-o", "/dev/null", "-w", "%{http_code}", f"https://{host}:{port}/")
        assert said == "200"
    assert stat.S_IMODE(path.with_suffix(".key").stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen=tls:0:none"], "/none does not exist"),
        (["--tls-development", "--listen=tls:0:interface=0.0.0.0"], "give --tls-development-public too"),
    ],
)
def test_what_is_wrong_is_one_line(start, tmp_path: Path, words: list[str], said: str) -> None:
    done = twistd_process.run(tmp_path, "-n", "hardhttp", *words)
    assert done.returncode == 1
    assert said in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout + done.stderr
