"""All the wrappers at once, around a router and a directory, in memory and on real sockets."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_twisted

from hardhttp.testing import Rig
from hardhttp.web.compression import Compressed
from hardhttp.web.cors import CORS
from hardhttp.web.ratelimit import RateLimited
from hardhttp.web.routing import Router
from hardhttp.web.securityheaders import SecurityHeaders
from hardhttp.web.static import StaticFiles
from tests.serving import KINDS, serve
from tests.web.saying import say

APP = "https://app.example"
ASK = {"Accept_Encoding": b"gzip", "Origin": APP.encode()}


def around(resource: Any) -> Any:
    return SecurityHeaders(CORS(RateLimited(Compressed(resource), "1000/s", announce=True), [APP]))


def router() -> Router:
    routes = Router()

    @routes.get("/words/{count:int}")
    def words(request: Any, count: int) -> dict[str, Any]:
        return {"words": ["word"] * count}

    @routes.post("/words/{count:int}")
    def add(request: Any, count: int) -> dict[str, Any]:
        return {"bytes": len(request.content.read())}

    @routes.get("/pieces")
    def pieces(request: Any) -> AsyncIterator[str]:
        async def make() -> AsyncIterator[str]:
            for n in range(3):
                yield f"piece {n} "

        return make()

    @routes.get("/broken")
    def broken(request: Any) -> None:
        raise RuntimeError("broken")

    return routes


@pytest.mark.parametrize("mounted", [False, True])
def test_around_a_router_and_within_one(mounted: bool) -> None:
    root, prefix = around(router()), b""
    if mounted:
        outer = Router()
        outer.mount("/under", root)
        root, prefix = outer, b"/under"
    with Rig(root) as rig:
        for method, path, status, body in (
            (b"GET", b"/words/1000", 200, b'{"words":["word"'),
            (b"HEAD", b"/words/1000", 200, b""),
            (b"POST", b"/words/1", 200, b'{"bytes":10}'),
            (b"GET", b"/pieces", 200, b"piece 0 piece 1 piece 2 "),
            (b"GET", b"/broken", 500, b"<!doctype html>"),
            (b"GET", b"/absent", 404, b"<!doctype html>"),
            (b"DELETE", b"/words/1", 405, b"<!doctype html>"),
        ):
            content = b"0123456789" if method == b"POST" else None
            (response,) = rig.exchange(say(method, prefix + path, content, **ASK), methods=[method])
            text = response.body
            if response.get(b"content-encoding") == b"gzip" and text:
                text = gzip.decompress(text)
            assert (response.status, text[: len(body)]) == (status, body), path
            assert response.get(b"access-control-allow-origin") == APP.encode()
            assert response.get(b"x-frame-options") == b"DENY"
            vary = (response.get(b"vary") or b"").split(b", ")
            assert {b"Origin", b"Accept-Encoding"} <= {*vary}
            if status == 200:
                assert response.get(b"ratelimit-policy") == b'"default";q=1000;w=1'
        rig.flush()


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_around_a_directory(kind: str, tmp_path: Path) -> None:
    picture, page = Random(1).randbytes(3 << 20), b"hello, world " * 200_000
    (tmp_path / "picture.png").write_bytes(picture)
    (tmp_path / "page.txt").write_bytes(page)
    async with serve(kind, around(StaticFiles(tmp_path))) as serving:
        answer = await serving.ask("/picture.png", Accept_Encoding="gzip")  # the way of sendfile
        assert answer.body == picture
        assert "content-encoding" not in answer.headers
        answer = await serving.ask("/page.txt", Accept_Encoding="gzip")
        assert gzip.decompress(answer.body) == page
        again = await serving.ask("/page.txt", Accept_Encoding="gzip", If_None_Match=answer.headers["etag"])
        assert again.status == 304
        part = await serving.ask("/page.txt", Accept_Encoding="gzip", Range="bytes=5-9")
        assert (part.status, part.body) == (206, page[5:10])
        assert answer.headers["etag"] == "W/" + part.headers["etag"]
        # What was weakened is no condition for a part (RFC 9110, 13.1.5).
        whole = await serving.ask("/page.txt", Range="bytes=5-9", If_Range=answer.headers["etag"])
        assert (whole.status, whole.body) == (200, page)


def test_a_file_is_compressed_whatever_cookies_come_with_the_request(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_bytes(b"hello, world " * 200)
    with Rig(around(StaticFiles(tmp_path))) as rig:
        for _ in range(2):  # nobody has looked at them, be the file known or not
            (response,) = rig.exchange(say(b"GET", b"/page.txt", Cookie=b"session=1", **ASK))
            assert (response.status, response.get(b"content-encoding")) == (200, b"gzip")
