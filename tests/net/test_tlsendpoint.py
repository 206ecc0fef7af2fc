"""``tls:`` and ``ssl:`` over real sockets: what a client is served, what it is refused, and for how long it may try."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from hardhttp import Site
from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.net.certificates import CertificateError
from hardhttp.net.certificatestore import CHECK_SECONDS
from hardhttp.net.tls import TLSFactory
from hardhttp.net.tlsendpoint import names_path, read_tls
from hardhttp.net.tlspolicy import CIPHERS, TLSPolicy
from hardhttp.testing import parse_responses
from hardhttp.web.service import listen
from tests.certificates import Authority
from tests.net.loopback import GET, Answer, Client, Loopback, blocking, result_of, until

LOCAL = "interface=127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def live(authority: Authority, tmp_path: Path) -> Path:
    for name in ("a.example", "b.example"):
        authority.issue(name).certbot(tmp_path / "live" / name)
    return tmp_path / "live"


class TLSLoop(Loopback):
    """A site that listens for TLS at ``description``; clients trust ``authority``."""

    def __init__(self, description: str, authority: Authority, policy: TLSPolicy | None = None, **options: Any) -> None:
        answer = options.pop("answer", lambda request: b"said")
        super().__init__(options.pop("site", None) or Answer(answer), description, **options)
        self._policy, self._authority = policy, authority

    def listen(self) -> None:
        self.port = result_of(listen(self.reactor, self.description, self.site, tls=self._policy))
        self.find()

    def context(self, **settings: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._authority.path))
        for name, value in settings.items():
            setattr(context, name, value)
        return context

    def shake(self, context: ssl.SSLContext | None = None, name: str | None = "a.example", session: Any = None) -> Any:
        """A client that has made its handshake, as far as it knows."""
        context = context or self.context()
        if name is None:
            context.check_hostname = False
        raw = socket.create_connection(self.address)
        raw.setblocking(False)
        secure = context.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False, session=session)
        client = Client(secure)
        self.clients.append(client)
        until(lambda: _shaken(secure), "the handshake")
        return client


def _shaken(secure: ssl.SSLSocket) -> bool:
    try:
        secure.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


def ask(client: Client) -> bytes:
    client.send_all(GET)
    return client.responses(1)[0].body


def names(client: Client) -> list[str]:
    shown: Any = client.socket.getpeercert()  # type: ignore[attr-defined]
    return [value for _, value in shown["subjectAltName"]]


# -- who is served what --------------------------------------------------------------------------


@blocking
def test_a_directory(live: Path, authority: Authority) -> None:
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority) as loop:
        for name in ("a.example", "b.example"):
            client = loop.shake(name=name)
            assert names(client) == [name]
            assert ask(client) == b"said"
        assert names(loop.shake(name=None)) == ["a.example"]
        with pytest.raises(ssl.SSLCertVerificationError, match=r"certificate is not valid for 'c\.example'"):
            loop.shake(name="c.example")
        assert type(loop.port.factory) is TLSFactory


@blocking
def test_a_default(live: Path, authority: Authority) -> None:
    with TLSLoop(f"tls:0:{live}:{LOCAL}:default=b.example", authority) as loop:
        assert names(loop.shake(name=None)) == ["b.example"]


@blocking
@pytest.mark.parametrize(
    "words", ["tls:0:{pem}:privateKey={key}", "ssl:0:privateKey={key}:certKey={pem}", "ssl:0:{key}:{pem}"]
)
def test_a_pair_of_files(words: str, authority: Authority, tmp_path: Path) -> None:
    folder = authority.issue("a.example").certbot(tmp_path / "a b")
    description = words.format(pem=folder / "fullchain.pem", key=folder / "privkey.pem")
    with TLSLoop(f"{description}:{LOCAL}", authority) as loop:
        assert ask(loop.shake()) == b"said"


@blocking
def test_a_chain_is_sent(authority: Authority, tmp_path: Path) -> None:
    pem = authority.issue("a.example").pem(tmp_path / "a.pem")
    with TLSLoop(f"ssl:0:{pem}:extraCertChain={authority.path}:{LOCAL}", authority) as loop:
        client = loop.shake()
        sent = client.socket._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        assert len(sent) == 2


@blocking
def test_one_file_looks_after_itself(authority: Authority, tmp_path: Path) -> None:
    """A port watches while it listens, on the clock that it was given, and drops nobody."""
    pem = authority.issue("a.example").pem(tmp_path / "a.pem")
    clock = Clock()
    where = read_tls(f"tls:0:{pem}:{LOCAL}", clock)
    assert where is not None
    loop = TLSLoop(where, authority)  # type: ignore[arg-type]
    with loop:
        assert len(clock.getDelayedCalls()) == 1
        before = loop.shake()
        new = authority.issue("a.example", "new.example")
        new.pem(pem)
        clock.advance(CHECK_SECONDS)
        assert names(loop.shake()) == ["a.example", "new.example"]
        assert ask(before) == b"said"
        assert names(before) == ["a.example"]
    assert clock.getDelayedCalls() == []


@blocking
def test_a_reload_under_load_loses_nobody(authority: Authority, tmp_path: Path) -> None:
    """Clients of every age ask on while the certificate changes under them, each time in two steps."""
    folder = authority.issue("a.example").certbot(tmp_path / "a")
    clock = Clock()
    where: Any = read_tls(f"tls:0:{folder}:{LOCAL}", clock)
    with TLSLoop(where, authority) as loop:
        clients = [loop.shake()]
        for round_number in range(6):
            new = authority.issue("a.example", f"n{round_number}.example")
            for name, data in (("fullchain.pem", new.certificate), ("privkey.pem", new.key)):
                (folder / name).write_bytes(data)
                clock.advance(CHECK_SECONDS)
                clients.append(loop.shake())
                for client in clients:
                    client.received = b""
                    assert ask(client) == b"said"
            assert names(clients[-1]) == ["a.example", f"n{round_number}.example"]
        assert loop.site.statistics.closed[Reason.CLIENT_RESET] == 0
        assert loop.site.connection_count == len(clients) == 13


# -- ALPN ----------------------------------------------------------------------------------------


def chosen(loop: TLSLoop, name: str, *offered: str) -> str | None:
    context = loop.context()
    if offered:
        context.set_alpn_protocols(list(offered))
    found: str | None = loop.shake(context, name).socket.selected_alpn_protocol()
    return found


@blocking
@pytest.mark.parametrize("name", ["a.example", "b.example"])
def test_alpn_is_the_sites_on_every_certificate(live: Path, authority: Authority, name: str) -> None:
    from twisted.internet import reactor

    older = Site(Answer(str), reactor=reactor, http2=False)  # type: ignore[arg-type]
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, site=older) as loop:
        assert chosen(loop, name, "h2", "http/1.1") == "http/1.1"
        assert chosen(loop, name) is None
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            chosen(loop, name, "imap")
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            chosen(loop, name, "h2")
        until(lambda: loop.site.statistics.closed[Reason.TLS_HANDSHAKE] == 2)
        assert chosen(loop, name, "http/1.1") == "http/1.1"  # what went wrong was for that one alone
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, site=Site(Answer(str), reactor=reactor)) as loop:  # type: ignore[arg-type]
        assert chosen(loop, name, "http/1.1", "h2") == "h2"  # the server's order holds
        assert chosen(loop, name, "http/1.1") == "http/1.1"


# -- versions, ciphers, sessions -------------------------------------------------------------------


@blocking
def test_versions(live: Path, authority: Authority) -> None:
    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority) as loop:
        for version, name in ((old, "TLSv1.2"), (new, "TLSv1.3")):
            client = loop.shake(loop.context(maximum_version=version))
            assert client.socket.version() == name
            assert client.socket.compression() is None
            assert ask(client) == b"said"
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, TLSPolicy(minimum="1.3")) as loop:
        with pytest.raises(ssl.SSLError, match="TLSV1_ALERT_PROTOCOL_VERSION"):
            loop.shake(loop.context(maximum_version=old))
        until(lambda: loop.site.statistics.closed[Reason.TLS_HANDSHAKE] == 1)
        assert loop.shake().socket.version() == "TLSv1.3"


@blocking
@pytest.mark.parametrize("cipher", ["AES256-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
def test_what_is_not_ephemeral_or_not_authenticated_is_refused(live: Path, authority: Authority, cipher: str) -> None:
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority) as loop:
        context = loop.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(f"{cipher}:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            loop.shake(context)
        until(lambda: loop.site.statistics.refused[Reason.TLS_HANDSHAKE] == 1)


@blocking
@pytest.mark.parametrize("ciphers", [CIPHERS, f"ECDHE-ECDSA-AES128-SHA:{CIPHERS}"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http2_is_not_agreed_on_with_a_cipher_it_forbids(
    live: Path, authority: Authority, ciphers: str, version: ssl.TLSVersion
) -> None:
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, TLSPolicy(ciphers=ciphers)) as loop:
        context = loop.context(maximum_version=version)
        context.set_alpn_protocols(["h2", "http/1.1"])
        fit = ciphers == CIPHERS or version is ssl.TLSVersion.TLSv1_3
        assert loop.shake(context).socket.selected_alpn_protocol() == ("h2" if fit else "http/1.1")
        if not fit:
            context.set_alpn_protocols(["h2"])
            with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                loop.shake(context)


@blocking
def test_the_servers_order_of_ciphers_holds(live: Path, authority: Authority) -> None:
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority) as loop:
        context = loop.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE+CHACHA20:ECDHE+AES256:ECDHE+AES128")
        assert loop.shake(context).socket.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


@blocking
@pytest.mark.parametrize("name", ["a.example", "b.example"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("asks", [False, True])
def test_sessions_are_resumed(
    live: Path, authority: Authority, name: str, version: ssl.TLSVersion, asks: bool, tmp_path: Path
) -> None:
    policy = TLSPolicy(client_ca=str(authority.path)) if asks else None
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, policy, answer=who) as loop:
        context = loop.context(maximum_version=version)
        if asks:
            context.load_cert_chain(authority.issue(common_name="ann").pem(tmp_path / "ann.pem"))
        first = loop.shake(context, name)
        ask(first)  # with TLS 1.3 tickets come after the handshake
        again = loop.shake(context, name, first.socket.session)
        assert again.socket.session_reused
        assert not first.socket.session_reused
        assert ask(again) == (b"ann () CN=ann" if asks else b"nobody")  # the ticket remembers who it is for


# -- clients' certificates -------------------------------------------------------------------------


def who(request: Any) -> bytes:
    shown = request.client_certificate
    return b"nobody" if shown is None else f"{shown.common_name} {shown.names} {shown.subject}".encode()


@blocking
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_must_have_a_certificate(
    live: Path, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    policy = TLSPolicy(client_ca=str(authority.path))
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, policy, answer=who) as loop:
        context = loop.context(maximum_version=version)
        context.load_cert_chain(authority.issue(common_name="ann", mail="ann@a.example").pem(tmp_path / "ann.pem"))
        assert ask(loop.shake(context, "b.example")) == b"ann ('ann@a.example',) CN=ann"
        stranger = loop.context(maximum_version=version)
        stranger.load_cert_chain(Authority(tmp_path, "other").issue(common_name="ann").pem(tmp_path / "eve.pem"))
        for count, context in enumerate((loop.context(maximum_version=version), stranger), 1):
            with pytest.raises((ssl.SSLError, OSError)):
                _until_told(loop.shake(context, "b.example"))
            until(lambda: loop.site.statistics.closed[Reason.TLS_HANDSHAKE] == count)  # noqa: B023
        assert loop.site.statistics.requests == 1


def _until_told(client: Client) -> None:
    """With TLS 1.3 a client is through before it is judged, and hears of it when it reads."""
    try:
        client.send_all(GET)
        client.end()
    except ssl.SSLEOFError as error:
        raise OSError from error
    assert client.received == b""
    raise ConnectionResetError


@blocking
def test_clients_may_have_a_certificate(live: Path, authority: Authority, tmp_path: Path) -> None:
    policy = TLSPolicy(client_ca=str(authority.path), client_certificate="optional")
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, policy, answer=who) as loop:
        assert ask(loop.shake()) == b"nobody"
        context = loop.context()
        context.load_cert_chain(authority.issue(common_name="ann").pem(tmp_path / "ann.pem"))
        assert ask(loop.shake(context)) == b"ann () CN=ann"


@blocking
def test_a_certificate_over_http2(live: Path, authority: Authority, tmp_path: Path) -> None:
    """It is the connection's, and so each stream's."""
    policy = TLSPolicy(client_ca=str(authority.path), client_certificate="optional")
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, policy, answer=who) as loop:
        host, port = loop.address
        context = loop.context()
        context.load_cert_chain(authority.issue(common_name="ann").pem(tmp_path / "ann.pem"))

        def asked(context: ssl.SSLContext) -> list[tuple[str, str]]:
            with httpx.Client(http2=True, verify=context) as client:
                extensions = {"sni_hostname": "a.example"}
                got = [client.get(f"https://{host}:{port}/", extensions=extensions) for _ in range(2)]
            return [(answer.http_version, answer.text) for answer in got]

        assert result_of(deferToThread(asked, context)) == [("HTTP/2", "ann () CN=ann")] * 2
        assert result_of(deferToThread(asked, loop.context())) == [("HTTP/2", "nobody")] * 2


@blocking
def test_without_tls_nobody_has_shown_a_certificate() -> None:
    with Loopback(Answer(who)) as loop:
        assert loop.exchange()[0].body == b"nobody"


# -- handshakes that do not end, or fail -------------------------------------------------------------


@pytest.fixture
def hello() -> bytes:
    """The first thing a client says."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@blocking
@pytest.mark.parametrize("begins", [0, 1, 5, 6, 100, 10_000])
def test_a_handshake_has_a_deadline_that_a_trickle_does_not_move(
    live: Path, authority: Authority, hello: bytes, begins: int
) -> None:
    clock = Clock()
    site = Site(Answer(lambda request: b"said"), reactor=clock, limits=Limits(head_seconds=10))  # type: ignore[arg-type]
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority, site=site) as loop:
        client = loop.connect()
        client.send_all(hello[:begins])
        loop.accepted(1)
        sent = begins
        for _ in range(9):
            clock.advance(1)
            client.send_all(hello[sent : sent + 1])
            sent += 1
        assert loop.site.connection_count == 1
        clock.advance(1)
        client.end()
        until(lambda: loop.site.connection_count == 0, "the end")
        assert {reason for reason, count in site.statistics.closed.items() if count} <= {
            Reason.IDLE,
            Reason.HEAD_SECONDS,
        }


@blocking
@pytest.mark.parametrize("garbage", [GET, b"\x16\x03\x01\x00\x05xxxxx", b"\x00" * 100, b"\xff" * 20_000])
def test_what_is_no_handshake(live: Path, authority: Authority, garbage: bytes) -> None:
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority) as loop:
        client = loop.connect()
        client.send_all(garbage)
        client.end()
        if garbage is GET:
            (told,) = parse_responses(client.received[: client.received.index(b"https.\r\n") + 8])[0]
            assert (told.status, told.body) == (400, b"This port speaks TLS: ask by https.\r\n")
        else:
            assert b"HTTP" not in client.received
        until(lambda: loop.site.statistics.closed[Reason.TLS_HANDSHAKE] == 1)
        assert loop.site.statistics.refused[Reason.TLS_HANDSHAKE] == 1
        assert loop.site.statistics.requests == 0


@blocking
def test_who_leaves_half_way_has_done_no_wrong(live: Path, authority: Authority, hello: bytes) -> None:
    with TLSLoop(f"tls:0:{live}:{LOCAL}", authority) as loop:
        for size in (0, 3, 100, len(hello)):
            client = loop.connect()
            client.send_all(hello[:size])
            loop.accepted(1)
            client.close()
            loop.accepted(0)
        assert loop.site.statistics.refused[Reason.TLS_HANDSHAKE] == 0
        assert loop.site.statistics.closed[Reason.TLS_HANDSHAKE] == 0


# -- descriptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tls:443", "tls: needs a certificate: tls:443:PATH, a PEM file or a directory of them"),
        ("tls", "tls: takes PORT, PATH, privateKey, default, interface and backlog, but there is missing"),
        ("tls:443:x:colour=red", "but there is got an unexpected keyword argument 'colour'"),
        ("tls:443:x:y", "but there is too many positional arguments"),
        ("tls:https:{pem}", "the port is 'https'; it must be a number from 0 to 65535"),
        ("tls:65536:{pem}", "the port is '65536'; it must be a number from 0 to 65535"),
        ("tls:-1:{pem}", "the port is '-1'"),
        ("tls:443:{pem}:backlog=many", "backlog is 'many'"),
        ("ssl:443:colour=red", "ssl: takes PORT, privateKey, certKey, extraCertChain, interface and backlog"),
    ],
)
def test_what_is_no_description(given: str, said: str, authority: Authority, tmp_path: Path) -> None:
    pem = authority.issue("a.example").pem(tmp_path / "a.pem")
    with pytest.raises(ValueError) as caught:
        read_tls(given.format(pem=pem), Clock())
    assert said in str(caught.value)


def test_files_that_are_not_there() -> None:
    for given in ("tls:443:/none.pem", "ssl:443:privateKey=/none.pem"):
        with pytest.raises(CertificateError, match=r"^/none\.pem does not exist$"):
            read_tls(given, Clock())


def test_what_it_says(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = authority.issue("a.example").pem(tmp_path / "a.pem")
    monkeypatch.chdir(tmp_path)
    where = read_tls("TLS:65535:a.pem:interface=\\:\\:1:backlog=7", Clock())
    assert where is not None
    assert (where.port, where.interface, where.backlog) == (65_535, "::1", 7)
    assert where.certificates.default.files.paths == (str(pem), str(pem))  # wherever the process goes


@pytest.mark.parametrize(
    "given", ["tcp:80", "unix:/run/http", "ssl:443:sslmethod=TLSv1_2_METHOD", "ssl:443:dhParameters=x"]
)
def test_what_is_left_to_twisted(given: str) -> None:
    assert read_tls(given, Clock()) is None


@pytest.mark.filterwarnings("ignore:Pass:DeprecationWarning")
@blocking
def test_twisteds_own_is_served_still(authority: Authority, tmp_path: Path) -> None:
    from twisted.internet import reactor
    from twisted.internet.endpoints import serverFromString

    pem = authority.issue("a.example").pem(tmp_path / "a.pem")
    description = f"ssl:0:{pem}:{LOCAL}:sslmethod=TLS_METHOD"
    assert isinstance(serverFromString(reactor, description), SSL4ServerEndpoint)
    with TLSLoop(description, authority) as loop:
        assert ask(loop.shake()) == b"said"
        assert chosen(loop, "a.example", "http/1.1") == "http/1.1"


def test_where_certificates_are_named() -> None:
    assert [names_path(text) for text in ("tls:443", "tls:443:interface=\\:\\:1", "tls:443:default=x")] == [False] * 3
    assert [names_path(text) for text in ("tls:443:x", "tls:443:path=x", "ssl:443")] == [True] * 3
