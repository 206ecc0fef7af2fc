"""The certificate for development: made once, good for this machine, and no authority."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509

from hardhttp.net.certificates import Certificate, CertificateError
from hardhttp.net.selfsigned import DAYS, RENEW_DAYS, development_certificate, public_key_pin
from tests.certificates import now

DAY_SECONDS = 86_400


def make(folder: Path, machine: str = "machine", days: float = 0) -> tuple[Certificate, bool]:
    return development_certificate(folder, machine, now().timestamp() + days * DAY_SECONDS)


def test_it_is_made_once(tmp_path: Path) -> None:
    made, first = make(tmp_path)
    again, second = make(tmp_path)
    assert (first, second) == (True, False)
    assert made.leaf == again.leaf
    assert sorted(path.name for path in tmp_path.iterdir()) == ["localhost.key", "localhost.pem"]


def test_nobody_else_reads_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert modes == {"b": 0o700, "localhost.key": 0o600, "localhost.pem": 0o644}


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        ("machine", ["machine"]),
        ("Machine.example.org.", ["machine.example.org"]),
        ("localhost", []),
        ("", []),
        ("my machine", []),
        ("máquina", []),
        ("a..b", []),
        ("x" * 63, ["x" * 63]),
        ("x" * 64, []),
    ],
)
def test_its_names(tmp_path: Path, machine: str, names: list[str]) -> None:
    assert set(make(tmp_path, machine)[0].names) == {"localhost", "127.0.0.1", "::1", *names}


def test_another_machines_is_made_anew(tmp_path: Path) -> None:
    make(tmp_path)
    assert make(tmp_path, "other")[1]


def test_the_last_month_is_not_waited_for(tmp_path: Path) -> None:
    make(tmp_path)
    assert not make(tmp_path, days=DAYS - RENEW_DAYS - 0.1)[1]
    made, anew = make(tmp_path, days=DAYS - RENEW_DAYS + 0.1)
    assert anew
    assert made.complaint(now().timestamp() + (2 * DAYS - RENEW_DAYS - 1) * DAY_SECONDS) is None


@pytest.mark.parametrize("name", ["localhost.key", "localhost.pem"])
def test_half_of_it_is_none(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    (tmp_path / name).write_text("")
    assert make(tmp_path)[1]
    assert not make(tmp_path)[1]


def test_it_is_no_authority_and_serves_alone(tmp_path: Path) -> None:
    extensions = make(tmp_path)[0].leaf.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert [use._name for use in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] == ["serverAuth"]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "machine"])
def test_the_strictest_of_clients_takes_it(tmp_path: Path, name: str) -> None:
    made = make(tmp_path)[0]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.files.certificate, made.files.key)
    client = ssl.create_default_context(cafile=made.files.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as secure:
            secure.recv(1)

    thread = Thread(target=serve)
    thread.start()
    with client.wrap_socket(ours, server_hostname=name) as secure:
        secure.send(b"x")
    thread.join()


def test_openssl_verifies_it(tmp_path: Path) -> None:
    path = make(tmp_path)[0].files.certificate
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", path, path]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == f"{path}: OK\n"


def test_a_pin_is_the_public_keys(tmp_path: Path) -> None:
    made = make(tmp_path)[0]
    script = 'openssl x509 -in "$0" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary'
    command = ["sh", "-c", f"{script} | base64", made.files.certificate]
    assert public_key_pin(made) == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CertificateError, match="no certificate can be kept there: Not a directory"):
        make(tmp_path / "file" / "folder")
