"""Ways out of a directory: none of them leads anywhere, wherever the directory is mounted.

Each string is asked for over a whole server, byte for byte as it stands. It must be refused (400, 403,
404), and nothing that comes may hold a byte of what lies outside, or of what is hidden inside.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site as TwistedSite

from hardhttp.testing import Rig, parse_responses
from hardhttp.web import fileroot
from hardhttp.web.filecache import SETTLED_SECONDS
from hardhttp.web.fileroot import is_name
from hardhttp.web.routing import Router
from hardhttp.web.static import StaticFiles
from tests.net.loopback import Loopback, blocking

MARKER = b"TOP-SECRET"
REFUSED = {400, 403, 404}

# One step up, as it has been written by those who tried.
_UPS = rb"""
    .. %2e%2e %2E%2E .%2e %2e. %252e%252e %25252e%25252e ..%00 ..; ..;a=b %c0%ae%c0%ae %c0%2e%c0%2e
    %e0%80%ae%e0%80%ae %f0%80%80%ae%f0%80%80%ae %f8%80%80%80%ae%f8%80%80%80%ae %c0.%c0. %c0ae%c0ae
    %ef%bc%8e%ef%bc%8e %e2%80%a5 %e2%80%a4%e2%80%a4 %u002e%u002e %uff0e%uff0e %fe%ff%00.%00. %ff%fe.%00.%00 .%00.
    %00.. ..%0a ..%0d ..%09 ..%20 %20.. ..%a0 ..%c2%a0 ... .... ..%20%20 ..%01 ..%7f %2e%2e%3b ..%3f ..%23 ..%2a
    ..%c2%ad ..%e2%80%8b ..%ef%bb%bf .%e2%80%8b. ..%5c ..%2f ..%252f ..%255c ..%c0%af ..%c1%9c ..%e0%80%af
    ..%ef%bc%8f ..%e2%88%95 ..%e2%81%84 ..%u2215 ..%%32%66 ..%%35%63 %%32%65%%32%65 ..: ..::$DATA ~ ..\ ..\..
""".split()
_STEPS = [b"/" + up + b"/outside.txt" for up in _UPS]
_SLASHES = (b"%5c", b"%2f", b"%252f", b"%c0%af", b"%ef%bc%8f", b"\\")
_JOINED = [b"/.." + slash + b"outside.txt" for slash in _SLASHES]
_DEEP = [b"/sub/" + up + b"/" + up + b"/outside.txt" for up in _UPS[:16]]
# To what lies beside the root, also where its name begins as the root's does; back into the root by a way
# that is none; by links; to what is hidden; by names that another system would read otherwise.
_OTHERS = rb"""
    //outside.txt ///outside.txt //../outside.txt /./../outside.txt /.//../outside.txt /sub//../../outside.txt
    /sub/./../../outside.txt /sub/../../outside.txt /sub/../../root2/secret.txt /../root2/secret.txt
    /%2e%2e%2froot2%2fsecret.txt /..%2froot%2fa.txt /../root/a.txt /%2e%2e/root/a.txt /sub/../a.txt
    /sub/%2e%2e/a.txt /sub%2f..%2fa.txt /sub%2fb.txt /sub%5cb.txt /sub\b.txt /./a.txt /%2e/a.txt /sub/./b.txt
    /sub//b.txt //a.txt /sub/b.txt/. /sub/b.txt/.. /sub/.. /sub/../ /.. /../ /. /./ /a.txt%00 /a.txt%00.html
    /%00a.txt /a.txt%20 /a.txt. /a.txt%2e /a.txt... /a.txt%0a /a.txt; /a.txt;.html /a.txt::$DATA /a.txt:stream
    /a.txt/ /a.txt%2f /a.txt%5c /A.TXT~ /SUB~1/b.txt /etc/passwd //etc/passwd /%2fetc%2fpasswd /%2f%2fetc/passwd
    /%5cetc%5cpasswd /file:///etc/passwd /file:%2f%2f%2fetc%2fpasswd
    /../../../../../../../../../../../../../../../../../../../../etc/passwd /proc/self/environ
    /../../proc/self/cwd/outside.txt /C:/Windows/win.ini /C:%5cWindows%5cwin.ini /%5c%5cserver%5cshare%5cfile /CON
    /NUL.txt /~root/.profile /.env /%2eenv /.%65nv /%252eenv /.git/config /%2egit/config /.git%2fconfig /.git /.git/
    /sub/.hidden /sub/%2ehidden /.well-known/../.env /.well-known/.env /.well-known%2f..%2f.env /link-out.txt
    /link-out/secret.txt /link-out/ /link-out /link-up/outside.txt /link-abs /link-null /link-proc/environ
    /link-loop /link-fd/0 /sub/link-chain /fifo /socket /link-out.txt/ /link-%6fut.txt /sub/../link-out.txt
    /link-out%2fsecret.txt /% /%2 /%zz /%2e%2e /%2e%2e/ /%80 /%ff%fe /%ed%a0%80 * outside.txt ../outside.txt
""".split()
_LONG = [
    b"/" + b"../" * 20 + b"etc/passwd",
    b"/" + b"%2e%2e/" * 20 + b"etc/passwd",
    b"/" + b"..%2f" * 20 + b"etc%2fpasswd",
    b"/" + b"..%252f" * 20 + b"etc%252fpasswd",
    b"/" + b"%c0%ae%c0%ae/" * 20 + b"etc/passwd",
    b"/" + b"....//" * 20 + b"etc/passwd",
    b"/" + b"..././" * 20 + b"etc/passwd",
    b"/" + b"a" * 256,
    b"/" + b"sub/" * 1500,
    b"/" + b"%2e" * 900,
    b"/a.txt%0d%0aX: y",
    b"/a .txt",
    b"/\x7f",
]
CORPUS = list(dict.fromkeys([*_STEPS, *_JOINED, *_DEEP, *_OTHERS, *_LONG]))

# How open redirects are written; ``evil.example`` is no directory here, ``sub`` is one.
REDIRECTS = rb"""
    //evil.example //evil.example/ //evil.example/%2e%2e /\evil.example /%5cevil.example /%2fevil.example
    ///evil.example //evil.example/sub //sub ///sub /%2f/sub /%2fsub /\sub /%5csub /.//sub /;//sub
    /sub/..//evil.example //evil.example%2f..%2fsub //evil.example@sub /sub%2f%2fevil.example
    /sub%0d%0aLocation:%20//e /%0d%0aLocation:%20//evil.example/sub /%09/evil.example /sub\ /sub%5c
    /sub?//evil.example
""".split()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("traversal")
    root = top / "root"
    for directory in ("root/sub", "root/.git", "root/.well-known", "root2"):
        (top / directory).mkdir(parents=True)
    for secret in (
        "outside.txt",
        "root2/secret.txt",
        "root/.env",
        "root/.git/config",
        "root/sub/.hidden",
        "root/.well-known/.env",
    ):
        (top / secret).write_bytes(MARKER)
    for name in (b"\x80", b"a.txt.", b"a.txt ", b"a.txt\n", b"sub\\b.txt", b"\xc0\xae\xc0\xae"):
        Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(MARKER)  # not to be asked for
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    for name, target in {
        "link-out.txt": "../outside.txt", "link-out": "../root2", "link-up": "..", "link-abs": str(top / "outside.txt"),
        "link-null": "/dev/null", "link-proc": "/proc/self", "link-fd": "/proc/self/fd", "link-loop": "link-loop",
        "sub/link-chain": "../link-out.txt",
    }.items():  # fmt: skip
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    before = os.getcwd()
    os.chdir(root)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    os.chdir(before)
    return root


def at_root(files: StaticFiles) -> tuple[IResource, bytes]:
    return files, b""


def as_child(files: StaticFiles) -> tuple[IResource, bytes]:
    tree = Resource()
    tree.putChild(b"m", files)
    return tree, b"/m"


def in_a_router(files: StaticFiles) -> tuple[IResource, bytes]:
    router = Router()
    router.mount("/files", files)
    return router, b"/files"


def at_a_routers_root(files: StaticFiles) -> tuple[IResource, bytes]:
    router = Router()
    router.mount("/", files)
    return router, b""


PLACES = [at_root, as_child, in_a_router, at_a_routers_root]
Place = Callable[[StaticFiles], tuple[IResource, bytes]]


def ask(rig: Rig, target: bytes, method: bytes = b"GET") -> tuple[int, bytes]:
    """The status, and all that came."""
    peer = rig.connect()
    peer.send(b"%b %b HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n" % (method, target))
    came = peer.received
    assert peer.ended
    return int(came[9:12]), came


def test_it_holds_what_was_promised() -> None:
    assert len(CORPUS) >= 100
    assert len(CORPUS) + len(REDIRECTS) >= 200


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("options", [{}, {"listing": True, "fallback": "sub/b.txt"}])
@pytest.mark.parametrize("tells", [True, False])
def test_every_way_out_is_refused(
    root: Path, place: Place, options: dict[str, Any], tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fileroot, "_TELLS", tells)
    resource, prefix = place(StaticFiles(root, **options))
    # A page for whatever is not there would be a 200: names that are harmless, and not there, may have it.
    with Rig(resource) as rig:
        for target in CORPUS:
            for method in (b"GET", b"HEAD"):
                status, came = ask(rig, prefix + target, method)
                assert MARKER not in came, target
                assert b"root:" not in came, target
                if options and status == 200:
                    assert came.endswith(b"\r\n\r\nb") or method == b"HEAD", target
                else:
                    assert status in REFUSED, (target, status)


@pytest.mark.parametrize("place", PLACES)
def test_also_when_what_is_allowed_is_in_memory(root: Path, place: Place) -> None:
    files = StaticFiles(root)
    resource, prefix = place(files)
    with Rig(resource) as rig:
        newest = max(path.lstat().st_ctime for path in (root, *root.rglob("*")))
        rig.clock.rightNow = newest + SETTLED_SECONDS + 1
        for target in (b"/a.txt", b"/sub/b.txt"):
            assert ask(rig, prefix + target)[0] == 200
        assert len(files.cache) == 2
        for target in CORPUS:
            status, came = ask(rig, prefix + target)
            assert status in REFUSED, (target, status)
            assert MARKER not in came


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("listing", [False, True])
def test_no_redirect_leads_elsewhere(root: Path, place: Place, listing: bool) -> None:
    resource, prefix = place(StaticFiles(root, listing=listing))
    with Rig(resource) as rig:
        for start in {prefix, b""}:
            for target in REDIRECTS:
                peer = rig.connect()
                peer.send(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % (start + target))
                (response,) = peer.responses()
                location = response.get(b"location")
                assert location is None or location.startswith(b"./sub/"), target
                assert response.status in {*REFUSED, 301, 200}, target


def test_under_twisted_web(root: Path) -> None:
    """Its own server in front: it unquotes for us."""
    resource, prefix = as_child(StaticFiles(root))
    site = TwistedSite(resource)
    for target in CORPUS:
        channel, transport = site.buildProtocol(None), StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % (prefix + target))
        came = transport.value()
        assert MARKER not in came
        assert b"root:" not in came
        assert not came.startswith(b"HTTP/1.1 2"), target
        channel.connectionLost(None)
        for call in [c for c in _pending() if c.active()]:
            call.cancel()


def _pending() -> list[Any]:
    from twisted.internet import reactor

    return [call for call in reactor.getDelayedCalls() if "HTTPChannel" in repr(call) or "TimeoutMixin" in repr(call)]


@blocking
def test_over_a_real_socket(root: Path) -> None:
    with Loopback(StaticFiles(root, listing=True)) as site:
        for target in CORPUS:
            client = site.connect()
            client.send_all(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
            (response,), left = parse_responses(client.end())
            assert response.status in REFUSED, target
            assert MARKER not in client.received
            assert not left


@pytest.mark.parametrize("up", _UPS)
def test_names_that_are_more_than_names(up: bytes) -> None:
    name = unquote_to_bytes(up)
    if is_name(name):
        # What is let through is a name like any other: to the kernel it is one entry of one directory.
        assert b"/" not in name
        assert b"\0" not in name
        assert b"\\" not in name
        assert name not in (b".", b"..")
        assert name.decode("utf-8")


_PIECES = [*_UPS, b"/", b"//", b"sub", b"a.txt", b"outside.txt", b"link-out", b".", b"%2f", b"root"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.lists(
        st.sampled_from([*_UPS, b"/", b"//", b"sub", b"a.txt", b"outside.txt", b"link-out", b".", b"%2f", b"root"]),
        max_size=8,
    )
)
@example([b"sub", b"/", b"..", b"/", b".."])
def test_whatever_is_put_together(root: Path, parts: list[bytes]) -> None:
    with Rig(StaticFiles(root, listing=True)) as rig:
        status, came = ask(rig, b"/" + b"".join(parts))
        assert status in {*REFUSED, 200, 301}
        assert MARKER not in came
        assert b"root2" not in came


@given(st.binary(max_size=40))
def test_a_name_is_one_name(segment: bytes) -> None:
    if is_name(segment, dotfiles=True):
        assert segment not in (b"", b".", b"..")
        assert not set(segment) & set(b"/\\\0\r\n")
        assert os.path.normpath(segment) == segment
