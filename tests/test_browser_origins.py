"""What scripts of another origin can do, as a browser has it: read where they may, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from selenium import webdriver
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource

from hardhttp.web.compression import Compressed
from hardhttp.web.cors import CORS
from hardhttp.web.ratelimit import RateLimited
from hardhttp.web.securityheaders import SecurityHeaders
from tests.chromium import browser
from tests.serving import Serving, serve
from tests.web.saying import Says

__all__ = ["browser"]
pytestmark = pytest.mark.browser

# What a page learns of one request: its status and text, or that it may not know.
FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then(
    async answer => {
        const told = ["x-told", "x-untold"].map(name => answer.headers.get(name));
        done([answer.status, await answer.text(), ...told]);
    },
    error => done(["refused"]),
);
"""


class Api(Resource):
    """Answers with the cookie it was sent, and fails where it is asked to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.methods: list[bytes] = []

    def render_GET(self, request: Any) -> bytes:
        self.methods.append(request.method)
        if request.postpath == [b"broken"]:
            raise RuntimeError("broken")
        request.setHeader(b"X-Told", b"yes")
        request.setHeader(b"X-Untold", b"yes")
        return b"cookie: " + (request.getHeader(b"cookie") or b"none")

    render_PUT = render_DELETE = render_GET


def at(host: str, serving: Serving, path: str = "/") -> str:
    """Chromium takes every name below ``localhost`` for this machine; each is an origin of its own."""
    return f"http://{host}:{serving.port}{path}"


async def fetch(driver: webdriver.Chrome, page: str, url: str, **options: Any) -> list[Any]:
    def look() -> list[Any]:
        driver.get(page)
        answer: list[Any] = driver.execute_async_script(FETCH, url, options)
        return answer

    result: list[Any] = await deferToThread(look)
    return result


@pytest_twisted.ensureDeferred
async def test_who_can_read(browser: webdriver.Chrome) -> None:
    api, root = Api(), Resource()
    root.putChild(b"", Says(lambda request: b"<!doctype html><title>a page</title>"))
    async with serve("fast", root) as serving:
        friend, stranger = at("friend.localhost", serving), at("stranger.localhost", serving)
        for name, origins, options in (
            (b"some", [friend[:-1]], {"expose": ["X-Told"], "methods": ["GET", "PUT"]}),
            (b"cookies", [friend[:-1]], {"credentials": True}),
            (b"all", ["*"], {}),
        ):
            root.putChild(name, CORS(Compressed(api), origins, **options))
        some, cookies, everybody = (at("api.localhost", serving, f"/{name}/x") for name in ("some", "cookies", "all"))

        assert await fetch(browser, friend, some) == [200, "cookie: none", "yes", None]
        assert await fetch(browser, stranger, some) == ["refused"]
        assert await fetch(browser, stranger, everybody) == [200, "cookie: none", None, None]
        # An error page is read too; without CORS headers on it, it could not be.
        broken = at("api.localhost", serving, "/some/broken")
        assert (await fetch(browser, friend, broken))[0] == 500
        # Preflights: what is not named does not reach the application.
        del api.methods[:]
        assert (await fetch(browser, friend, some, method="PUT"))[0] == 200
        json = {"content-type": "application/json"}
        assert (await fetch(browser, friend, some, method="PUT", headers=json))[0] == 200
        assert await fetch(browser, friend, some, method="DELETE") == ["refused"]
        assert await fetch(browser, friend, some, headers={"x-own": "1"}) == ["refused"]
        assert await fetch(browser, stranger, some, method="PUT") == ["refused"]
        assert api.methods == [b"PUT", b"PUT"]
        # With the user's cookies, only where that was said.
        assert (await fetch(browser, friend, cookies, credentials="include"))[0] == 200
        assert await fetch(browser, friend, some, credentials="include") == ["refused"]
        assert await fetch(browser, stranger, everybody, credentials="include") == ["refused"]
        await deferToThread(browser.get, "about:blank")
        serving.site.cleanup_idle_connections()
        for channel in serving.site.server.tracker:
            channel.loseConnection()
    serving.site.resource = Resource()


@pytest_twisted.ensureDeferred
async def test_being_asked_too_often_can_be_read(browser: webdriver.Chrome) -> None:
    root = Resource()
    root.putChild(b"", Says(lambda request: b"<!doctype html><title>a page</title>"))
    async with serve("fast", root) as serving:
        friend = at("friend.localhost", serving)
        limited = RateLimited(Api(), "1/m")
        root.putChild(b"api", SecurityHeaders(CORS(limited, [friend[:-1]])))
        url = at("api.localhost", serving, "/api/x")
        assert (await fetch(browser, friend, url))[0] == 200
        assert (await fetch(browser, friend, url))[0] == 429
        await deferToThread(browser.get, "about:blank")
        for channel in serving.site.server.tracker:
            channel.loseConnection()
