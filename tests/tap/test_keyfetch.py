"""A JWKS by its URL: which URLs will do, and what is taken of what a server answers, over real sockets."""

from __future__ import annotations

import gzip
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Site
from hardhttp.sse.remotekeys import Document, FetchError
from hardhttp.tap.keyfetch import MAX_DOCUMENT_BYTES, KeyFetch, fresh_seconds
from tests.client.trust import Trust
from tests.serving import Serving, serve
from tests.test_http2_clients import SecureServing

DOCUMENT = b'{"keys": []}'


class Provider(Resource):
    """The path says how to answer."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.elsewhere = b""

    def render_GET(self, request: Any) -> Any:
        name, _, number = request.postpath[0].partition(b"-")
        self.asked.append(request)
        answer: Callable[[Any, int], Any] = getattr(self, f"answer_{name.decode()}")
        return answer(request, int(number or 0))

    def answer_keys(self, request: Any, _: int) -> bytes:
        request.setHeader(b"Cache-Control", b"public, max-age=300")
        request.setHeader(b"Age", b"100")
        return DOCUMENT

    def answer_status(self, request: Any, status: int) -> bytes:
        request.setResponseCode(status)
        return DOCUMENT

    def answer_long(self, request: Any, length: int) -> bytes:
        return b" " * length

    def answer_endless(self, request: Any, _: int) -> int:
        for _ in range(10):
            request.write(b" " * 64 * 1024)
        return NOT_DONE_YET

    def answer_gzip(self, request: Any, length: int) -> bytes:
        assert request.getHeader(b"accept-encoding") == b"gzip"
        request.setHeader(b"Content-Encoding", b"gzip")
        return gzip.compress(b" " * length or DOCUMENT)

    def answer_coded(self, request: Any, _: int) -> bytes:
        request.setHeader(b"Content-Encoding", b"rot13")
        return DOCUMENT

    def answer_hop(self, request: Any, left: int) -> bytes:
        request.redirect(b"/hop-%d" % (left - 1) if left else b"/keys")
        return b""

    def answer_away(self, request: Any, _: int) -> bytes:
        request.redirect(self.elsewhere)
        return b""

    def answer_never(self, request: Any, _: int) -> int:
        return NOT_DONE_YET

    def answer_half(self, request: Any, status: int) -> int:
        request.setResponseCode(status or 200)
        request.write(DOCUMENT)
        return NOT_DONE_YET


@pytest_twisted.async_yield_fixture
async def provider() -> AsyncIterator[tuple[Provider, Serving]]:
    tree = Provider()
    async with serve("fast", tree) as serving:
        yield tree, serving


async def fetched(url: str, **more: Any) -> Document | str:
    """The document, or why there is none."""
    fetch = KeyFetch(url, reactor, **more)
    try:
        return await fetch()
    except FetchError as error:
        return str(error)
    finally:
        await fetch.close()


# -- URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("https://id.example.com/.well-known/jwks.json", "https://id.example.com"),
        ("HTTPS://ID.example.com:443/keys?secret=1", "https://id.example.com"),
        ("https://id.example.com:8443/@keys", "https://id.example.com:8443"),
        ("https://bücher.example/keys", "https://xn--bcher-kva.example"),
        ("https://10.0.0.1/keys", "https://10.0.0.1"),
        ("http://127.0.0.1:8000/keys", "http://127.0.0.1:8000"),
        ("http://127.9.9.9/keys", "http://127.9.9.9"),
        ("http://[::1]:8000/keys", "http://[::1]:8000"),
    ],
)
def test_a_url_that_will_do(url: str, where: str) -> None:
    assert KeyFetch(url, reactor).where == where


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://id.example.com/keys", "must be https"),
        ("http://localhost/keys", "must be https"),
        ("http://10.0.0.1/keys", "must be https"),
        ("http://128.0.0.1/keys", "must be https"),
        ("http://[::2]/keys", "must be https"),
        ("https://me:sesame@id.example.com/keys", "names a user"),
        ("https://sesame@id.example.com", "names a user"),
        ("http://sesame@127.0.0.1/", "names a user"),
        ("https://", "cannot be asked"),
        ("https:///sesame", "cannot be asked"),
        ("https://a b/sesame", "cannot be asked"),
        ("https://a/sesame sesame", "cannot be asked"),
        ("https://a/sesame\r\nX: y", "cannot be asked"),
        ("https://2130706433/sesame", "cannot be asked"),
        ("https://a:0/sesame", "cannot be asked"),
        ("https://a:70000/sesame", "cannot be asked"),
    ],
)
def test_a_url_that_will_not_do(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        KeyFetch(url, reactor)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, None),
        ({"Cache-Control": ["no-cache"]}, None),
        ({"Cache-Control": ["max-age=60"]}, 60.0),
        ({"Cache-Control": ["public", 'Max-Age="60"']}, 60.0),
        ({"Cache-Control": ["public, s-maxage=5,max-age=60"], "Age": ["10"]}, 50.0),
        ({"Cache-Control": ["max-age=60"], "Age": ["x"]}, 60.0),
        ({"Cache-Control": ["max-age=60"], "Age": ["9" * 5000]}, 0.0),
        ({"Cache-Control": ["max-age=-1"]}, None),
        ({"Cache-Control": ["max-age=" + "9" * 5000]}, None),
    ],
)
def test_for_how_long_an_answer_is_good(fields: dict[str, list[str]], seconds: float | None) -> None:
    assert fresh_seconds(Headers(fields)) == seconds


# -- answers -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_document_is_had(provider: tuple[Provider, Serving]) -> None:
    tree, serving = provider
    assert await fetched(f"{serving.url}/keys") == Document(DOCUMENT, 200.0)
    assert await fetched(f"{serving.url}/gzip") == Document(DOCUMENT)
    assert tree.asked[0].getHeader(b"authorization") is None


@pytest.mark.parametrize("status", [201, 204, 206, 304, 401, 404, 500, 503])
@pytest_twisted.ensureDeferred
async def test_nothing_but_200_will_do(provider: tuple[Provider, Serving], status: int) -> None:
    assert await fetched(f"{provider[1].url}/status-{status}") == f"the answer is {status} and not 200"


@pytest_twisted.ensureDeferred
async def test_it_is_bounded_as_it_comes_and_as_it_is_decoded(provider: tuple[Provider, Serving]) -> None:
    url = provider[1].url
    for kind in ("long", "gzip"):
        assert await fetched(f"{url}/{kind}-{MAX_DOCUMENT_BYTES}") == Document(b" " * MAX_DOCUMENT_BYTES)
    assert str(await fetched(f"{url}/long-{MAX_DOCUMENT_BYTES + 1}")).startswith("body-bytes")
    assert str(await fetched(f"{url}/endless")).startswith("body-bytes")
    assert str(await fetched(f"{url}/gzip-{MAX_DOCUMENT_BYTES + 1}")).startswith("max-decoded-bytes")
    assert await fetched(f"{url}/coded") == "the answer has a coding that was not asked for"


@pytest_twisted.ensureDeferred
async def test_three_redirects_within_its_origin(provider: tuple[Provider, Serving]) -> None:
    tree, serving = provider
    assert await fetched(f"{serving.url}/hop-2") == Document(DOCUMENT, 200.0)
    tree.asked.clear()
    assert str(await fetched(f"{serving.url}/hop-3")).startswith("max-redirects")
    assert len(tree.asked) == 4


@pytest_twisted.ensureDeferred
async def test_no_redirect_to_another_origin(provider: tuple[Provider, Serving]) -> None:
    tree, serving = provider
    async with serve("fast", other := Provider()) as elsewhere:
        for place in (
            f"{elsewhere.url}/keys",
            f"http://localhost:{serving.port}/keys",
            f"https://127.0.0.1:{serving.port}/keys",
        ):
            tree.elsewhere = place.encode()
            assert await fetched(f"{serving.url}/away") == "a redirect leads to another origin"
    tree.elsewhere = b"http+unix://%2Frun%2Fdocker.sock/keys"
    assert str(await fetched(f"{serving.url}/away")).startswith("max-redirects")
    assert other.asked == []
    assert {request.uri for request in tree.asked} == {b"/away"}


@pytest.mark.parametrize("path", ["never", "half"])
@pytest_twisted.ensureDeferred
async def test_it_may_be_cancelled_at_any_moment(provider: tuple[Provider, Serving], path: str) -> None:
    tree, serving = provider
    fetch = KeyFetch(f"{serving.url}/{path}", reactor)
    fetching = fetch()
    await serving.wait_for(lambda: tree.asked)
    fetching.cancel()
    with pytest.raises((CancelledError, FetchError)):
        await fetching
    await serving.wait_for(lambda: not serving.site.connection_count)
    await fetch.close()


@pytest.mark.parametrize("path", ["keys", "status-500", "half-500", "coded"])
@pytest_twisted.ensureDeferred
async def test_no_connection_is_kept(
    provider: tuple[Provider, Serving], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.serving.PATIENCE_SECONDS", 3.0)  # before the client's own patience ends
    fetch = KeyFetch(f"{provider[1].url}/{path}", reactor)
    try:
        await fetch()
    except FetchError:
        assert path != "keys"
    await provider[1].wait_for(lambda: not provider[1].site.connection_count)
    await fetch.close()


@pytest_twisted.ensureDeferred
async def test_closing_ends_what_there_is(provider: tuple[Provider, Serving]) -> None:
    tree, serving = provider
    fetch = KeyFetch(f"{serving.url}/never", reactor)
    fetching = fetch()
    await serving.wait_for(lambda: tree.asked)
    await fetch.close()
    with pytest.raises(FetchError, match="agent-closed"):
        await fetching


@pytest_twisted.ensureDeferred
async def test_it_goes_on_after_it_was_closed(provider: tuple[Provider, Serving]) -> None:
    fetch = KeyFetch(f"{provider[1].url}/keys", reactor)
    await fetch.close()
    for _ in range(2):
        assert (await fetch()).content == DOCUMENT
        await fetch.close()


@pytest_twisted.ensureDeferred
async def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await fetched(f"http://127.0.0.1:{port}/keys") == "connect-refused"


# -- TLS -----------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_certificate_must_be_the_hosts_and_trusted(tmp_path: Path) -> None:
    trust, folder = Trust(tmp_path), tmp_path / "other"
    folder.mkdir()
    other = Trust(folder)
    not_the_hosts = trust.authority.issue("other.example").pem(tmp_path / "other.pem")
    for pem, root, said in (
        (trust.pem, trust.root, None),
        (trust.pem, None, "tls"),  # the platform's
        (trust.pem, other.root, "tls"),
        (not_the_hosts, trust.root, "tls"),
    ):
        tree = Provider()
        serving = SecureServing(Site(tree, reactor=reactor), pem)
        await serving.begin()
        try:
            got = await fetched(f"{serving.url}/keys", trust_root=root)
        finally:
            await serving.end()
        if said is None:
            assert got == Document(DOCUMENT, 200.0)
        else:
            assert str(got).startswith(said)
            assert tree.asked == []
