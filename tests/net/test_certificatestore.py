"""The certificates a port serves: who gets which, and what happens when files change."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from hardhttp.net import certificatestore
from hardhttp.net.certificates import CertificateError
from hardhttp.net.certificatestore import CHECK_SECONDS, ROTATE_SECONDS, Certificates
from hardhttp.net.tlspolicy import TLSPolicy
from tests.certificates import DAY, Authority, Issued, now

CLIENT = SSL.Context(SSL.TLS_METHOD)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace", "").startswith("hardhttp."):
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(now().timestamp())
    return clock


class Protocol:
    """What a connection belongs to, as far as a handshake asks."""

    class factory:
        wrappedFactory = None


def served(store: Certificates, name: str | None) -> tuple[Any, SSL.Connection]:
    """The certificate that a client gets who asks for ``name``; and its connection."""
    client, server = _pair(store, name)
    _shake(client, server)
    return client.get_peer_certificate(as_cryptography=True), client


def _pair(store: Certificates, name: str | None) -> tuple[SSL.Connection, SSL.Connection]:
    client = SSL.Connection(CLIENT, None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name.encode("ascii"))
    server = store.serverConnectionForTLS(Protocol())
    server.set_accept_state()
    server.set_app_data(Protocol())
    return client, server


def _shake(client: SSL.Connection, server: SSL.Connection) -> None:
    for _ in range(3):
        for this, other in ((client, server), (server, client)):
            try:
                this.do_handshake()
            except SSL.WantReadError:
                pass
            _carry(this, other)
    with pytest.raises(SSL.WantReadError):
        client.recv(1)  # and the tickets


def _carry(this: SSL.Connection, other: SSL.Connection) -> None:
    try:
        other.bio_write(this.bio_read(1 << 16))
    except SSL.WantReadError:
        pass


@pytest.fixture
def live(authority: Authority, tmp_path: Path) -> dict[str, Issued]:
    """A directory of certbot's, ``tmp_path/live``."""
    names = {"a.example": ["a.example"], "b.example": ["b.example", "*.b.example"], "c.example": ["c.b.example"]}
    made = {name: authority.issue(*all_names) for name, all_names in names.items()}
    for name, issued in made.items():
        issued.certbot(tmp_path / "live" / name)
    return made


@pytest.fixture
def store(live: dict[str, Issued], tmp_path: Path, clock: Clock) -> Certificates:
    return Certificates(str(tmp_path / "live"), clock)


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("a.example", "a.example"),
        ("A.EXAMPLE", "a.example"),
        ("b.example", "b.example"),
        ("x.b.example", "b.example"),
        ("c.b.example", "c.example"),  # its own goes before a wildcard
        ("x.y.b.example", "a.example"),  # a wildcard is one label
        (".b.example", "a.example"),
        ("other.example", "a.example"),
        ("*", "a.example"),
        (None, "a.example"),
    ],
)
def test_who_gets_which(store: Certificates, live: dict[str, Issued], asked: str | None, got: str) -> None:
    if asked == ".b.example":
        assert store.covers(asked)  # no client sends that, and no host is called so
        return
    assert served(store, asked)[0] == live[got].leaf


@pytest.mark.parametrize("default", ["b.example", "*.b.example", "c.b.example"])
def test_a_default(live: dict[str, Issued], tmp_path: Path, clock: Clock, default: str) -> None:
    store = Certificates(str(tmp_path / "live"), clock, default=default)
    got = served(store, None)[0]
    assert got == live["c.example" if default == "c.b.example" else "b.example"].leaf
    assert store.default.leaf == got


def test_a_default_that_is_not_there(live: dict[str, Issued], tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(CertificateError, match=r"default=d: there is no such certificate; there is a\.example, b\."):
        Certificates(str(tmp_path / "live"), clock, default="d")


def test_hosts_it_covers(store: Certificates) -> None:
    assert [store.covers(host) for host in ("a.example", "A.example.", "x.b.example")] == [True] * 3
    assert [store.covers(host) for host in ("", "x.a.example", "b.example.evil", "127.0.0.1")] == [False] * 4


def test_of_two_for_a_name_the_one_issued_last(authority: Authority, tmp_path: Path, clock: Clock) -> None:
    new = authority.issue("a.example", begin=now() - DAY / 2)
    for name, issued in {"1": new, "2": authority.issue("a.example", begin=now() - DAY)}.items():
        issued.pem(tmp_path / f"{name}.pem")
    assert served(Certificates(str(tmp_path), clock), "a.example")[0] == new.leaf


# -- files change --------------------------------------------------------------------------------


def test_a_renewal_is_served_at_the_next_look(
    store: Certificates, authority: Authority, tmp_path: Path, clock: Clock, logged: list[str]
) -> None:
    store.start()
    new = authority.issue("a.example")
    new.certbot(tmp_path / "live" / "a.example")
    clock.advance(CHECK_SECONDS - 0.1)
    assert served(store, "a.example")[0] != new.leaf
    clock.advance(0.1)
    assert served(store, "a.example")[0] == new.leaf
    assert served(store, None)[0] == new.leaf
    assert len(logged) == 1
    assert "certificate read: " in logged[0]
    store.stop()
    assert clock.getDelayedCalls() == []


def test_a_handshake_half_done_goes_on_with_what_it_began_with(
    store: Certificates, live: dict[str, Issued], authority: Authority, tmp_path: Path
) -> None:
    client, server = _pair(store, "a.example")
    authority.issue("a.example").certbot(tmp_path / "live" / "a.example")
    assert store.refresh()
    _shake(client, server)
    assert client.get_peer_certificate(as_cryptography=True) is not None
    client.send(b"still here")
    _carry(client, server)
    assert server.recv(100) == b"still here"


def test_half_a_renewal_changes_nothing_and_is_told_once(
    store: Certificates, live: dict[str, Issued], authority: Authority, tmp_path: Path, logged: list[str]
) -> None:
    folder, new = tmp_path / "live" / "b.example", authority.issue("b.example")
    (folder / "fullchain.pem").write_bytes(new.certificate)
    for _ in range(3):
        assert not store.refresh()
        assert served(store, "b.example")[0] == live["b.example"].leaf
    assert len(logged) == 1
    assert "is not that of the certificate" in logged[0]
    assert logged[0].endswith("; what was there before goes on being served")
    (folder / "privkey.pem").write_bytes(new.key)
    assert store.refresh()
    assert served(store, "b.example")[0] == new.leaf


@pytest.mark.parametrize("gone", ["fullchain.pem", "privkey.pem"])
def test_half_a_renewal_may_have_no_file_at_all(
    store: Certificates, live: dict[str, Issued], tmp_path: Path, gone: str
) -> None:
    (tmp_path / "live" / "b.example" / gone).unlink()
    assert not store.refresh()
    assert served(store, "b.example")[0] == live["b.example"].leaf


def test_certbots_links_are_replaced_one_after_another(authority: Authority, tmp_path: Path, clock: Clock) -> None:
    """``live`` holds links into ``archive``; at each step of a renewal some certificate is served, and it is whole."""
    (tmp_path / "live" / "a.example").mkdir(parents=True)
    old, new = (authority.issue("a.example") for _ in range(2))
    for number, issued in enumerate((old, new), 1):
        folder = issued.certbot(tmp_path / "archive" / str(number))
        assert folder.is_dir()
    links = {name: tmp_path / "live" / "a.example" / name for name in ("privkey.pem", "fullchain.pem")}
    for name, link in links.items():
        link.symlink_to(f"../../archive/1/{name}")
    store = Certificates(str(tmp_path / "live"), clock)
    for name, link in links.items():
        link.unlink()
        assert not store.refresh()
        assert served(store, "a.example")[0] == old.leaf
        link.symlink_to(f"../../archive/2/{name}")
        assert store.refresh() == (name == "fullchain.pem")
    assert served(store, "a.example")[0] == new.leaf


def test_what_the_servers_user_may_not_read_is_served_on(
    store: Certificates, live: dict[str, Issued], monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def denied(*args: Any, **kw: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        for name in ("stat", "open", "listdir"):
            patched.setattr(f"os.{name}", denied)
        for _ in range(2):
            assert not store.refresh()
    assert served(store, "b.example")[0] == live["b.example"].leaf
    assert len(logged) == 1
    assert logged[0].endswith("live cannot be read: Permission denied; what was there before goes on being served")


@pytest.mark.parametrize("cut", [0, 1, 100, 300])
def test_a_file_half_written(store: Certificates, live: dict[str, Issued], tmp_path: Path, cut: int) -> None:
    for name, whole in (("fullchain.pem", live["a.example"].certificate), ("privkey.pem", live["a.example"].key)):
        path = tmp_path / "live" / "a.example" / name
        path.write_bytes(whole[: min(cut, len(whole) - 30)])
        assert not store.refresh()
        assert served(store, "a.example")[0] == live["a.example"].leaf
        path.write_bytes(whole)
        store.refresh()


def test_one_comes_and_one_goes(
    store: Certificates, live: dict[str, Issued], authority: Authority, tmp_path: Path
) -> None:
    new = authority.issue("d.example")
    new.certbot(tmp_path / "live" / "d.example")
    shutil.rmtree(tmp_path / "live" / "a.example")
    assert store.refresh()
    assert served(store, "d.example")[0] == new.leaf
    assert not store.covers("a.example")
    assert served(store, "a.example")[0] == live["b.example"].leaf  # the first there is now


def test_all_go_and_none_is_dropped(
    store: Certificates, live: dict[str, Issued], tmp_path: Path, logged: list[str]
) -> None:
    shutil.rmtree(tmp_path / "live")
    for _ in range(3):
        assert not store.refresh()
    assert served(store, "b.example")[0] == live["b.example"].leaf
    assert logged == [f"{tmp_path / 'live'} does not exist; what was there before goes on being served"]
    (tmp_path / "live").mkdir()
    assert not store.refresh()
    assert served(store, "b.example")[0] == live["b.example"].leaf


def test_one_that_is_broken_at_the_start_is_told_and_left_out(
    live: dict[str, Issued], tmp_path: Path, clock: Clock, logged: list[str]
) -> None:
    (tmp_path / "live" / "a.example" / "privkey.pem").write_text("")
    store = Certificates(str(tmp_path / "live"), clock)
    assert [certificate.files.name for certificate in store.certificates] == ["b.example", "c.example"]
    assert len(logged) == 1
    assert "a.example/privkey.pem holds no private key" in logged[0]
    live["a.example"].certbot(tmp_path / "live" / "a.example")
    assert store.refresh()
    assert served(store, "a.example")[0] == live["a.example"].leaf


def test_when_all_are_broken_at_the_start_it_does_not(live: dict[str, Issued], tmp_path: Path, clock: Clock) -> None:
    for name in live:
        (tmp_path / "live" / name / "privkey.pem").write_text("")
    with pytest.raises(CertificateError, match=r"a\.example/privkey\.pem holds no private key"):
        Certificates(str(tmp_path / "live"), clock)


def test_expired_ones_are_served_and_told_once(
    authority: Authority, tmp_path: Path, clock: Clock, logged: list[str]
) -> None:
    begin = now()
    made = authority.issue("a.example", begin=begin - DAY, end=begin + DAY)
    store = Certificates(str(made.pem(tmp_path / "a.pem")), clock)
    assert not logged
    clock.advance(DAY.total_seconds() + 1)
    for _ in range(3):
        store.refresh()
    assert logged == [f"{tmp_path / 'a.pem'} expired on {begin + DAY:%Y-%m-%d %H:%M} UTC"]
    assert served(store, None)[0] == made.leaf


def test_one_failure_does_not_end_the_watch(
    store: Certificates, clock: Clock, monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path
) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("a bug")

    store.start()
    with monkeypatch.context() as patched:
        patched.setattr(certificatestore, "load_certificate", broken)
        new = authority.issue("a.example")
        new.certbot(tmp_path / "live" / "a.example")
        clock.advance(CHECK_SECONDS)
    clock.advance(CHECK_SECONDS)
    assert served(store, None)[0] == new.leaf
    store.stop()


def test_it_is_watched_until_the_last_port_closes(store: Certificates, clock: Clock) -> None:
    store.start()
    store.start()
    store.stop()
    assert len(clock.getDelayedCalls()) == 1
    store.stop()
    assert clock.getDelayedCalls() == []


# -- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.example", "b.example", None])
def test_sessions_are_resumed_whatever_the_name(store: Certificates, name: str | None) -> None:
    assert resumed(store, name, served(store, name)[1])


def resumed(store: Certificates, name: str | None, before: SSL.Connection) -> bool:
    """Whether the session of ``before``, a client, is taken up. Such a handshake has no certificate: it is shorter."""
    session = before.get_session()
    sizes = []
    for given in (None, session):
        client, server = _pair(store, name)
        if given is not None:
            client.set_session(given)
        with pytest.raises(SSL.WantReadError):
            client.do_handshake()
        _carry(client, server)
        with pytest.raises(SSL.WantReadError):
            server.do_handshake()
        sizes.append(len(server.bio_read(1 << 16)))
    return sizes[1] < sizes[0] - 300


def test_tickets_have_new_keys_twice_a_day(store: Certificates, clock: Clock) -> None:
    before = served(store, "b.example")[1]
    clock.advance(ROTATE_SECONDS - 1)
    store.refresh()
    assert resumed(store, "b.example", before)
    clock.advance(1)
    assert not store.refresh()
    assert not resumed(store, "b.example", before)
    assert resumed(store, "b.example", served(store, "b.example")[1])


def test_what_was_served_is_let_go(store: Certificates, authority: Authority, tmp_path: Path) -> None:
    gc.disable()
    try:
        before = [weakref.ref(each.context) for each in store._served.values()]
        before.append(weakref.ref(store._first_context))
        for name in ("a.example", "b.example", "c.example"):
            authority.issue(name).certbot(tmp_path / "live" / name)
        assert store.refresh()
        assert [each() for each in before] == [None] * 4
    finally:
        gc.enable()


# -- clients' certificates -------------------------------------------------------------------------


def test_new_authorities_are_for_new_handshakes(
    live: dict[str, Issued], authority: Authority, tmp_path: Path, clock: Clock, logged: list[str]
) -> None:
    path = tmp_path / "clients.pem"
    path.write_bytes(authority.path.read_bytes())
    store = Certificates(str(tmp_path / "live"), clock, policy=TLSPolicy(client_ca=str(path)))
    subjects = [name.CN for name in served_authorities(store)]
    assert subjects == ["test authority"]
    path.write_text("not a certificate")
    for _ in range(2):
        assert not store.refresh()
    assert [name.CN for name in served_authorities(store)] == subjects
    assert len(logged) == 1
    assert logged[0].endswith("clients are judged by what was there before")
    path.write_bytes(Authority(tmp_path, "other").path.read_bytes())
    assert store.refresh()
    assert [name.CN for name in served_authorities(store)] == ["other"]


def served_authorities(store: Certificates) -> Any:
    """Whose certificates a client is asked for, by each of the contexts."""
    lists = []
    for name in (None, "b.example"):
        client, server = _pair(store, name)
        for this, other in ((client, server), (server, client)):
            with pytest.raises(SSL.WantReadError):
                this.do_handshake()
            _carry(this, other)
        lists.append(server.get_client_ca_list())
    assert [name.CN for name in lists[0]] == [name.CN for name in lists[1]]
    return lists[0]


def test_authorities_that_are_not_there(live: dict[str, Issued], tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(CertificateError, match="none does not exist"):
        Certificates(str(tmp_path / "live"), clock, policy=TLSPolicy(client_ca=str(tmp_path / "none")))


def test_authorities_that_did_not_reach_every_context_are_tried_again(
    live: dict[str, Issued], authority: Authority, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: Any) -> Any:
        raise SSL.Error([("", "", "a bad day")])

    path = tmp_path / "clients.pem"
    path.write_bytes(authority.path.read_bytes())
    store = Certificates(str(tmp_path / "live"), clock, policy=TLSPolicy(client_ca=str(path)))
    path.write_bytes(Authority(tmp_path, "other").path.read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(certificatestore, "make_context", refused)
        with pytest.raises(CertificateError, match=r"fullchain\.pem: a bad day"):
            store.refresh()
    assert store.refresh()
    assert [name.CN for name in served_authorities(store)] == ["other"]
