"""What the options of TLS ask for, and what each refusal says."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.usage import UsageError
from twisted.web.resource import Resource

from hardhttp.net.tlsendpoint import TLSListen
from hardhttp.net.tlspolicy import TLSPolicy
from hardhttp.tap import Options, makeService
from hardhttp.testing import Rig
from hardhttp.web.static import StaticFiles
from tests.certificates import DAY, Authority, now

LIVE = "--listen=tls:443:live"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: Authority) -> Path:
    """A directory of one's own, with certificates; and a home of one's own."""
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("socket.gethostname", lambda: "machine")
    for name in ("a.example", "b.example"):
        authority.issue(name).certbot(tmp_path / "live" / name)
    return tmp_path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    said = str(caught.value)
    assert "\n" not in said
    return said


def listening(*words: str) -> TLSListen:
    (where,) = [where for where in parse(*words).listening if isinstance(where, TLSListen)]
    return where


# -- listening -----------------------------------------------------------------------------------


def test_certificates_are_read_at_once(here: Path) -> None:
    options = parse("--listen=tcp:80", LIVE)
    plain, tls = options.listening
    assert plain == "tcp:80"
    assert isinstance(tls, TLSListen)
    assert [each.files.name for each in tls.certificates.certificates] == ["a.example", "b.example"]
    assert tls.certificates.policy == TLSPolicy()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tls:443", "tls: needs a certificate: tls:443:PATH, a PEM file or a directory of them"),
        ("tls:443:none", "{here}/none does not exist"),
        ("ssl:443", "{here}/server.pem does not exist"),
        ("ssl:443:privateKey=none.pem", "{here}/none.pem does not exist"),
        ("tls:443:live:default=c", "default=c: there is no such certificate; there is a.example, b.example"),
        ("tls:443:live/a.example/fullchain.pem", "{here}/live/a.example/fullchain.pem holds no private key in PEM"),
    ],
)
def test_what_cannot_be_listened_on(here: Path, given: str, said: str) -> None:
    assert refusal("--listen", given) == f"--listen {given!r}: {said.format(here=here)}"


def test_a_key_of_another_certificate(here: Path) -> None:
    given = "ssl:443:privateKey=live/a.example/privkey.pem:certKey=live/b.example/fullchain.pem"
    said = refusal(f"--listen={given}")
    assert said.endswith(f"privkey.pem is not that of the certificate in {here}/live/b.example/fullchain.pem")


@contextmanager
def logged() -> Iterator[list[str]]:
    """What is said."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        said = formatEvent(event) or event.get("message")
        lines.append(str(said))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


def test_an_expired_one_is_served_with_a_warning(here: Path, authority: Authority) -> None:
    end = now() - DAY / 2
    authority.issue("c.example", end=end).pem(here / "c.pem")
    with logged() as lines:
        listening("--listen=tls:443:c.pem")
    assert lines == [f"{here}/c.pem expired on {end:%Y-%m-%d %H:%M} UTC"]


def test_ciphers_that_http2_forbids_are_named() -> None:
    said = (
        "--tls-ciphers has ECDHE-RSA-AES128-SHA, AES128-SHA, AES256-SHA and 1 more, which HTTP/2 forbids (RFC 9113, "
        "appendix A): it is spoken over TLS 1.3 alone, and HTTP/1.1 over TLS 1.2"
    )
    ciphers = "--tls-ciphers=ECDHE-RSA-AES128-SHA:AES128-SHA:AES256-SHA:AES128-SHA256:ECDHE+AESGCM"
    for words, lines in (((), [said]), (("--no-http2",), []), (("--tls-minimum=1.3",), [])):
        with logged() as found:
            listening(LIVE, ciphers, *words)
        assert found == lines


# -- the policy ------------------------------------------------------------------------------------


def test_a_policy(here: Path, authority: Authority) -> None:
    policy = listening(
        LIVE,
        "--tls-minimum=1.3",
        "--tls-ciphers=TLS_AES_256_GCM_SHA384",
        f"--tls-client-ca={authority.path}",
        "--tls-client-certificate=optional",
    ).certificates.policy
    assert policy == TLSPolicy("1.3", "TLS_AES_256_GCM_SHA384", str(authority.path), "optional")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([LIVE, "--tls-minimum=1.1"], "--tls-minimum is 1.1: minimum is '1.1'; it must be 1.2 or 1.3"),
        ([LIVE, "--tls-ciphers=RC5"], "--tls-ciphers is RC5: ciphers: 'RC5' is not a cipher that OpenSSL knows"),
        ([LIVE, "--tls-client-ca=none"], "--tls-client-ca none: {here}/none does not exist"),
        ([LIVE, "--tls-client-ca=live"], "--tls-client-ca live: {here}/live cannot be read: Is a directory"),
        (
            [LIVE, "--tls-client-certificate=optional"],
            "--tls-client-certificate is for --tls-client-ca, and none is given",
        ),
        ([LIVE, "--tls-client-ca=x", "--tls-client-certificate=no"], "--tls-client-certificate is no: "),
        (["--tls-minimum=1.3"], "--tls-minimum is for TLS, and no --listen tls: or ssl: is given"),
        (["--tls-ciphers=ECDHE+AESGCM"], "--tls-ciphers is for TLS, and no --listen tls: or ssl: is given"),
        (["--tls-client-ca=none"], "--tls-client-ca is for TLS, and no --listen tls: or ssl: is given"),
    ],
)
def test_what_is_no_policy(here: Path, words: list[str], said: str) -> None:
    assert refusal(*words).startswith(said.format(here=here))


# -- around what is served ---------------------------------------------------------------------------


def served(*words: str, scheme: bytes = b"http", target: bytes = b"/", host: bytes = b"a.example") -> Any:
    """What a client gets from the tree that the options ask for."""

    class Leaf(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            return b"served"

    with Rig(parse(*words).around(Leaf())) as rig:
        rig.site.trusted_proxies = ["127.0.0.1"]
        head = b"GET %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Proto: %s\r\n\r\n" % (target, host, scheme)
        return rig.exchange(head)[0]


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("5m", b"max-age=300"),
        ("0", b"max-age=0"),
        ("365d,includeSubDomains", b"max-age=31536000; includeSubDomains"),
        ("365d, INCLUDESUBDOMAINS, preload", b"max-age=31536000; includeSubDomains; preload"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--security-headers"]])
def test_hsts(given: str, value: bytes, more: list[str]) -> None:
    secure = served(f"--hsts={given}", *more, scheme=b"https")
    assert secure.get(b"strict-transport-security") == value
    assert (secure.get(b"x-frame-options") is not None) == bool(more)
    assert served(f"--hsts={given}", *more).get(b"strict-transport-security") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hsts=long"], "--hsts: 'long' is not a time such as 90s"),
        (["--hsts=1d,preloaded"], "--hsts 1d,preloaded: 'preloaded' is neither includeSubDomains nor preload"),
        (["--hsts=99999d"], "--hsts 99999d: hsts_seconds is 8639913600; it must be from 0 to 316,224,000"),
        (["--hsts=365d,preload"], "--hsts 365d,preload: hsts_preload needs hsts_subdomains"),
        (["--hsts=364d,includeSubDomains,preload"], "--hsts 364d,includeSubDomains,preload: hsts_preload needs"),
        (["--hsts=5m", "--tls-development"], "--hsts with --tls-development would have browsers refuse plain HTTP"),
    ],
)
def test_what_is_no_hsts(words: list[str], said: str) -> None:
    assert refusal(*words).startswith(said)


def test_a_redirect_leads_to_the_tls_port(here: Path) -> None:
    answer = served(LIVE, "--redirect-to-https", target=b"/x?y=1")
    assert (answer.status, answer.get(b"location")) == (301, b"https://a.example/x?y=1")
    answer = served("--listen=tls:8443:live", "--redirect-to-https", host=b"b.example:8080")
    assert answer.get(b"location") == b"https://b.example:8443/"
    assert served(LIVE, "--redirect-to-https", host=b"evil.example").status == 421
    assert served(LIVE, "--redirect-to-https", scheme=b"https").body == b"served"
    proxied = served("--redirect-to-https", "--trusted-proxies=127.0.0.1", host=b"any.example")
    assert proxied.get(b"location") == b"https://any.example/"


def test_what_cannot_be_redirected() -> None:
    assert refusal("--redirect-to-https").startswith("--redirect-to-https: nothing listens for TLS")
    assert "of a port that is known" in refusal("--redirect-to-https", "--listen=tls:0:live")


def test_what_an_authority_asks_for_stays_where_it_is(here: Path) -> None:
    folder = here / "acme" / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_bytes(b"token.thumbprint")
    (here / "acme" / "secret").write_bytes(b"secret")
    words = [LIVE, "--redirect-to-https", "--acme-challenge=acme"]
    answer = served(*words, target=b"/.well-known/acme-challenge/token", host=b"new.example")
    assert (answer.status, answer.body) == (200, b"token.thumbprint")
    assert served(*words, target=b"/.well-known/acme-challenge/none").status == 404
    assert served(*words, target=b"/.well-known/acme-challenge/..%2f..%2fsecret").status in (400, 404)
    assert served(*words, target=b"/secret").status == 301
    assert refusal("--acme-challenge=none") == "--acme-challenge none is not a directory"


# -- development -------------------------------------------------------------------------------------


def folder(here: Path) -> Path:
    return here / "home" / "hardhttp" / "development"


def test_a_certificate_for_development(here: Path) -> None:
    where = listening("--tls-development")
    assert (where.port, where.interface) == (8443, "127.0.0.1")
    certificate = where.certificates.default
    assert certificate.names == ("localhost", "machine", "127.0.0.1", "::1")
    assert certificate.files.certificate == str(folder(here) / "localhost.pem")
    assert stat.S_IMODE((folder(here) / "localhost.key").stat().st_mode) == 0o600
    assert parse("--tls-development").listening[0] == "tcp:8080:interface=127.0.0.1"
    assert listening("--tls-development").certificates.default.fingerprint == certificate.fingerprint


@pytest.mark.parametrize(
    ("given", "interface"),
    [
        ("tls:9443", "127.0.0.1"),
        ("tls:9443:interface=\\:\\:1", "::1"),
        ("tls:9443:interface=127.0.0.9", "127.0.0.9"),
        ("tls:9443:live", ""),
    ],
)
def test_it_is_for_this_machine_alone(given: str, interface: str) -> None:
    assert listening("--tls-development", f"--listen={given}").interface == interface


@pytest.mark.parametrize("interface", ["0.0.0.0", "\\:\\:", "10.0.0.7", "example.org"])
def test_others_reach_it_only_when_asked(interface: str) -> None:
    given = f"--listen=tls:9443:interface={interface}"
    assert "give --tls-development-public too" in refusal("--tls-development", given)
    where = listening("--tls-development", "--tls-development-public", given)
    assert where.interface == interface.replace("\\", "")
    assert "is for --tls-development, which is not given" in refusal("--tls-development-public")


def test_a_place_where_none_can_be_kept(here: Path) -> None:
    (here / "home").write_text("a file")
    said = refusal("--tls-development")
    assert said == f"--tls-development: {folder(here)}: no certificate can be kept there: Not a directory"


def test_sighup_reads_them_again(here: Path, authority: Authority) -> None:
    options = parse(LIVE)
    service: Any = makeService(options)
    new = authority.issue("a.example")
    new.certbot(here / "live" / "a.example")
    service._hung_up()
    (where,) = options.listening
    assert isinstance(where, TLSListen)
    assert where.certificates.default.leaf == new.leaf
    assert service._http.descriptions == (where,)
    assert not any(call.active() for call in reactor.getDelayedCalls() if call.func.__name__ == "_look")  # type: ignore[attr-defined]


def test_without_any_of_these_nothing_is_wrapped(here: Path) -> None:
    root = StaticFiles(here)
    assert parse().around(root) is root
