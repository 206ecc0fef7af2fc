"""Sockets that were passed on: read from the environment, given once, and adopted by ports."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory

from hardhttp import Site
from hardhttp.net.inherited import VARIABLE, Given, Inherited, InheritedError, begun_with, handed_on, socket_name
from hardhttp.net.port import EagerReactor
from hardhttp.web.service import HTTPService
from tests.net.loopback import GET, Answer, Client, Loopback, blocking, result_of, until

PID = 4711
LOCALHOST = "127.0.0.1"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def bound(stack: ExitStack) -> Any:
    """Makes listening sockets."""

    def bind(address: Any = (LOCALHOST, 0), family: int = socket.AF_INET, listening: bool = True) -> socket.socket:
        handle = stack.enter_context(socket.socket(family))
        handle.bind(address)
        if listening:
            handle.listen()
        return handle

    return bind


def passed(*handles: socket.socket, **about: Any) -> dict[str, str]:
    """The variable for descriptors that are this process's own. ``Inherited`` closes them."""
    return {VARIABLE: json.dumps([{"fd": os.dup(handle.fileno()), **about} for handle in handles])}


def inherited(environ: dict[str, str]) -> Inherited:
    return Inherited.from_environment(environ, PID)


# -- reading -----------------------------------------------------------------------------------


def test_nothing_was_passed_on() -> None:
    environ = {"HOME": "/"}
    assert inherited(environ).left == ()
    assert environ == {"HOME": "/"}


def test_descriptors_are_made_ours(bound: Any) -> None:
    handle = bound()
    environ = passed(handle)
    number = json.loads(environ[VARIABLE])[0]["fd"]
    os.set_inheritable(number, True)
    given = inherited(environ)
    (each,) = given.left
    assert (each.socket.fileno(), os.get_inheritable(number), os.get_blocking(number)) == (number, False, False)
    assert environ == {}
    given.close()
    assert given.left == ()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_systemd_numbers_them_from_three(bound: Any, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fcntl.fcntl(bound().fileno(), fcntl.F_DUPFD, 700)  # beyond what anything else has
    second = os.dup2(bound().fileno(), first + 1)
    monkeypatch.setattr("hardhttp.net.inherited._FIRST", first)
    environ = {"LISTEN_PID": str(PID), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin"}
    given = inherited(environ)
    assert [(each.socket.fileno(), each.name) for each in given.left] == [(first, "web"), (second, "admin")]
    assert environ == {}
    given.close()


@pytest.mark.parametrize("names", [None, "", "web"])
def test_systemd_may_name_fewer(bound: Any, monkeypatch: pytest.MonkeyPatch, names: str | None) -> None:
    monkeypatch.setattr("hardhttp.net.inherited._FIRST", os.dup(bound().fileno()))
    environ = {"LISTEN_PID": str(PID), "LISTEN_FDS": "1", **({} if names is None else {"LISTEN_FDNAMES": names})}
    given = inherited(environ)
    assert [each.name for each in given.left] == [names or ""]
    given.close()


def test_what_systemd_passed_to_another_is_left() -> None:
    environ = {"LISTEN_PID": str(PID + 1), "LISTEN_FDS": "many"}
    assert inherited(environ).left == ()
    assert environ == {}, "nor is it for our children"


@pytest.mark.parametrize("count", ["", "-1", "many", "1025", "9" * 5000, "\u0661"])
def test_a_count_that_systemd_does_not_say(count: str) -> None:
    with pytest.raises(InheritedError, match="LISTEN_FDS is"):
        inherited({"LISTEN_PID": str(PID), "LISTEN_FDS": count})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3,4",
        "{}",
        "[3]",
        "[{}]",
        '[{"fd": "3"}]',
        '[{"fd": true}]',
        '[{"fd": 3, "name": 3}]',
        '[{"fd": 3, "socket": 3}]',
        "[" * 100_000,
        json.dumps([{"fd": 3}] * 1025),
    ],
)
def test_a_variable_that_is_not_ours(text: str) -> None:
    with pytest.raises(InheritedError, match="HARDHTTP_FDS is not what"):
        inherited({VARIABLE: text})


def test_what_is_no_listening_socket_is_refused(bound: Any, tmp_path: Path) -> None:
    with pytest.raises(InheritedError, match="no listening stream socket; in a"):
        inherited(passed(bound(listening=False)))
    with (tmp_path / "file").open("w") as file, pytest.raises(InheritedError, match="is no socket"):
        inherited({VARIABLE: json.dumps([{"fd": file.fileno()}])})
    with socket.socketpair()[0] as pair, pytest.raises(InheritedError, match="no listening stream socket"):
        inherited({VARIABLE: json.dumps([{"fd": pair.fileno()}])})


def test_a_socket_is_passed_on_once(bound: Any) -> None:
    number = bound().fileno()
    with pytest.raises(InheritedError, match="twice"):
        inherited({VARIABLE: json.dumps([{"fd": number}, {"fd": number}])})


def test_what_this_process_began_with_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twisted takes systemd's variables away as soon as its endpoints are imported."""
    file = tmp_path / "environ"
    file.write_bytes(b"HOME=/home\0LISTEN_PID=4711\0LISTEN_FDS=2\0LISTEN_FDNAMES=a:b\0")
    monkeypatch.setattr("hardhttp.net.inherited._BEGUN_WITH", str(file))
    assert begun_with({"HOME": "/"}) == {
        "HOME": "/",
        "LISTEN_PID": "4711",
        "LISTEN_FDS": "2",
        "LISTEN_FDNAMES": "a:b",
    }
    monkeypatch.setattr("hardhttp.net.inherited._BEGUN_WITH", str(tmp_path / "none"))
    assert begun_with({"HOME": "/"}) == {"HOME": "/"}


def test_what_is_handed_on_is_read_by_who_gets_it(bound: Any) -> None:
    given = [Given(bound(), "web"), Given(bound(), chosen=True), Given(bound(), owned=True)]
    environ, descriptors = handed_on(given, first=7)
    assert descriptors == {7 + number: each.socket.fileno() for number, each in enumerate(given)}
    described = json.loads(environ[VARIABLE])
    for each in described:
        each["fd"] = os.dup(descriptors[each["fd"]])
    found = inherited({VARIABLE: json.dumps(described)})
    assert [(each.name, each.chosen, each.owned) for each in found.left] == [
        ("web", False, False),
        ("", True, False),
        ("", False, True),
    ]
    assert [each.where for each in found.left] == [each.where for each in given]
    found.close()


# -- taking ------------------------------------------------------------------------------------


def test_each_is_given_once_and_to_its_address(bound: Any) -> None:
    handle = bound()
    port = handle.getsockname()[1]
    given = inherited(passed(handle))
    assert given.take(socket.AF_INET, ("", port)) is None
    assert given.take(socket.AF_INET, (LOCALHOST, 0)) is None
    assert given.take(socket.AF_INET, ("127.0.0.2", port)) is None
    assert given.take(socket.AF_INET, ("no such host.invalid", port)) is None
    assert given.take(socket.AF_INET6, ("::1", port)) is None
    found = given.take(socket.AF_INET, ("localhost", port))
    assert found is not None
    assert given.take(socket.AF_INET, ("localhost", port)) is None
    found.socket.close()


def test_every_address_is_one_too(bound: Any) -> None:
    four, six = bound(("0.0.0.0", 0)), bound(("::", 0), socket.AF_INET6)
    given = inherited(passed(four, six))
    for family, handle in ((socket.AF_INET, four), (socket.AF_INET6, six)):
        found = given.take(family, ("", handle.getsockname()[1]))
        assert found is not None
        found.socket.close()


def test_port_0_takes_what_the_kernel_chose_in_order(bound: Any) -> None:
    handles = [bound(), bound()]
    given = inherited(passed(*handles, chosen=True))
    for handle in handles:
        found = given.take(socket.AF_INET, (LOCALHOST, 0))
        assert found is not None
        assert found.socket.getsockname() == handle.getsockname()
        found.socket.close()
    assert given.take(socket.AF_INET, (LOCALHOST, 0)) is None


def test_paths_are_compared_as_files(bound: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = inherited(passed(bound("http", socket.AF_UNIX), bound("\0hardhttp-test", socket.AF_UNIX)))
    assert [each.where for each in given.left] == ["unix:http", "unix:@hardhttp-test"]
    assert given.take(socket.AF_UNIX, "/http") is None
    found = given.take(socket.AF_UNIX, os.fsencode(tmp_path / "http"))
    assert found is not None
    found.socket.close()
    found = given.take(socket.AF_UNIX, "\0hardhttp-test")
    assert found is not None
    found.socket.close()


def test_names_and_the_rest(bound: Any) -> None:
    given = Inherited([Given(bound(), "web"), Given(bound(), "admin"), Given(bound(), "web")])
    first, _, last = given.left
    assert given.take_named("web") == [first, last]
    assert given.take_named("web") == []
    assert [each.name for each in given.take_rest()] == ["admin"]
    assert given.left == ()


def test_which_option_would_take_it(bound: Any, tmp_path: Path) -> None:
    four, six = bound(), bound(("::1", 0), socket.AF_INET6)
    assert Given(four).option == f"tcp:{four.getsockname()[1]}:interface=127.0.0.1"
    assert Given(six).option == rf"tcp:{six.getsockname()[1]}:interface=\:\:1"
    assert Given(six).where == f"[::1]:{six.getsockname()[1]}"
    path = str(tmp_path / "http")
    assert Given(bound(path, socket.AF_UNIX)).option == f"unix:{path}"
    assert Given(bound("\0hardhttp-test", socket.AF_UNIX), "web").option == "systemd:web"


def test_ours_and_twisteds_own_descriptions() -> None:
    ours = {"systemd:": "", "systemd:web": "web", "systemd:INET": "INET"}
    others = ["systemd", "systemd:INET:0", "systemd:domain=INET:index=0", "tcp:8080", "unix:systemd:"]
    assert {each: socket_name(each) for each in ours} == ours
    assert [socket_name(each) for each in others] == [None] * len(others)


# -- listening on them ---------------------------------------------------------------------------


def eager(given: Inherited) -> Any:
    from twisted.internet import reactor

    return EagerReactor(reactor, inherited=given)


def hello(request: Any) -> bytes:
    return b"hello"


def ask(address: Any) -> bytes:
    handle = socket.socket(socket.AF_UNIX if isinstance(address, (str, bytes)) else socket.AF_INET)
    handle.connect(address)
    client = Client(handle)
    client.send_all(GET)
    body = client.responses(1)[0].body
    client.close()
    return body


@blocking
def test_a_port_adopts_what_it_would_bind(bound: Any) -> None:
    handle = bound()
    address = handle.getsockname()
    given = inherited(passed(handle))
    site = Site(Answer(hello))
    port = eager(given).listenTCP(address[1], site, interface=LOCALHOST)
    assert given.left == ()
    assert port.getHost().port == address[1]
    assert ask(address) == b"hello"
    result_of(port.stopListening())
    until(lambda: not site.connection_count)
    handle.setblocking(True)
    with socket.create_connection(address):
        handle.accept()[0].close()  # others that have it may go on


@blocking
def test_what_was_not_passed_on_is_bound(bound: Any) -> None:
    given = inherited(passed(bound()))
    port = eager(given).listenTCP(0, Factory(), interface=LOCALHOST)
    assert len(given.left) == 1
    given.close()
    result_of(port.stopListening())


@blocking
def test_a_port_is_handed_on_with_who_waits_in_its_queue() -> None:
    """Nobody who has connected is let go, and nobody is refused in between."""
    first = eager(Inherited()).listenTCP(0, Site(Answer(lambda _: b"first")), interface=LOCALHOST)
    host = first.getHost()
    address = (host.host, host.port)
    first.stopReading()
    waiting = socket.create_connection(address)
    environ, descriptors = handed_on([first.given()])
    described = json.loads(environ[VARIABLE])
    described[0]["fd"] = os.dup(descriptors[described[0]["fd"]])
    given = inherited({VARIABLE: json.dumps(described)})
    site = Site(Answer(lambda _: b"second"))
    # Asked for by the port 0 as the first was.
    second = eager(given).listenTCP(0, site, interface=LOCALHOST)
    first.leave()
    result_of(first.stopListening())
    client = Client(waiting)
    client.send_all(GET)
    assert client.responses(1)[0].body == b"second"
    assert ask(address) == b"second"
    client.close()
    assert second.given().chosen
    result_of(second.stopListening())
    until(lambda: not site.connection_count)


@blocking
def test_a_unix_sockets_file_and_lock_survive_their_first_owner(tmp_path: Path) -> None:
    path = tmp_path / "http"
    lock = tmp_path / "http.lock"
    first = eager(Inherited()).listenUNIX(str(path), Site(Answer(hello)), mode=0o600, wantPID=1)
    os.remove(lock)
    os.symlink(str(PID), lock)  # as of another process
    handed = first.given()
    given = Inherited([Given(handed.socket.dup(), owned=handed.owned)])
    site = Site(Answer(hello))
    second = eager(given).listenUNIX(str(path), site, mode=0o660, wantPID=1)
    assert path.stat().st_mode & 0o777 == 0o660
    assert os.readlink(lock) == str(PID)
    first.leave()
    result_of(first.stopListening())
    second.take_over()
    assert os.readlink(lock) == str(os.getpid())
    assert ask(str(path)) == b"hello"
    result_of(second.stopListening())
    until(lambda: not site.connection_count)
    assert list(tmp_path.iterdir()) == []


@blocking
def test_a_unix_sockets_file_that_is_systemds_is_let_be(bound: Any, tmp_path: Path) -> None:
    path = tmp_path / "http"
    handle = bound(str(path), socket.AF_UNIX)
    path.chmod(0o640)
    port = eager(inherited(passed(handle))).listenUNIX(str(path), Factory(), mode=0o666, wantPID=1)
    port.take_over()
    result_of(port.stopListening())
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["http"]


@blocking
def test_a_service_takes_those_of_a_name_and_the_rest(bound: Any) -> None:
    from twisted.internet import reactor

    handles = [bound() for _ in range(4)]
    named = zip(handles, ("web", "web", "", "other"), strict=True)
    given = Inherited([Given(handle.dup(), name) for handle, name in named])
    fixed = f"tcp:{handles[2].getsockname()[1]}:interface=127.0.0.1"
    site = Site(Answer(hello), reactor=reactor)
    serving = HTTPService(site, ["systemd:", "systemd:web", fixed], reactor, inherited=given)
    result_of(serving.startService())
    assert [each.name for each in given.left] == ["other"]
    serving.listen_rest()
    assert len(serving.ports) == 4
    assert [ask(handle.getsockname()) for handle in handles] == [b"hello"] * 4
    with pytest.raises(InheritedError, match="systemd:: no such socket was passed"):
        serving.listen_rest()
    result_of(serving.stopService())


@blocking
def test_a_name_that_nobody_passed_on_is_an_error() -> None:
    from twisted.internet import reactor

    serving = HTTPService(Site(Answer(hello), reactor=reactor), ["systemd:web"], reactor)
    with pytest.raises(InheritedError, match="systemd:web: no such socket was passed to this process"):
        result_of(serving.startService())


@blocking
def test_tls_is_spoken_on_an_adopted_port(bound: Any, tmp_path: Path) -> None:
    from twisted.internet import reactor

    from tests.net.loopback import certificate

    pem = certificate(tmp_path)
    handle = bound()
    port = handle.getsockname()[1]
    site = Site(Answer(hello), reactor=reactor)
    description = f"tls:{port}:{pem}:interface=127.0.0.1"
    serving = HTTPService(site, [description], reactor, inherited=inherited(passed(handle)))
    result_of(serving.startService())
    loop = Loopback(site, certificate=pem)
    loop.address = (LOCALHOST, port)
    client = loop.connect()
    client.send_all(GET)
    assert client.responses(1)[0].body == b"hello"
    client.close()
    result_of(serving.stopService())
