"""Tokens against cross-site requests, and what the browser says of where a request comes from."""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.testing import Rig
from hardhttp.web.csrf import check_csrf, csrf_protect, csrf_token
from hardhttp.web.routing import Router
from tests.web.remembered import Client

FORM = b"application/x-www-form-urlencoded"
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n%s\r\n--x--\r\n'


def application() -> Router:
    router = Router()
    router.before(csrf_protect)

    @router.get("/token")
    def token(request: Any) -> str:
        return csrf_token(request)

    @router.post("/login")
    def login(request: Any) -> str:
        request.session.rotate()
        return "in"

    @router.route("/", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    def done(request: Any) -> str:
        return "done"

    return router


def post(client: Client, token: bytes | None = None, **headers: bytes) -> int:
    if token is not None:
        headers["X_CSRF_Token"] = token
    return client.ask(b"/", b"POST", b"", **headers).status


def test_a_token_makes_a_session_and_is_another_each_time() -> None:
    with Rig(application()) as rig:
        client = Client(rig)
        tokens = {client.ask(b"/token").body for _ in range(10)}
        assert len(tokens) == 10
        assert {len(token) for token in tokens} == {86}
        assert rig.site.ledger.snapshot()["sessions"] == 1
        assert {post(client, token) for token in tokens} == {200}


def test_in_a_form() -> None:
    with Rig(application()) as rig:
        client = Client(rig)
        token = client.ask(b"/token").body
        form = b"a=b&csrf_token=" + token
        assert client.ask(b"/", b"POST", form, Content_Type=FORM).status == 200
        assert client.ask(b"/", b"PUT", form, Content_Type=FORM + b"; charset=utf-8").status == 200
        kind = b"multipart/form-data; boundary=x"
        assert client.ask(b"/", b"POST", MULTIPART % token, Content_Type=kind).status == 200
        assert client.ask(b"/", b"POST", MULTIPART % b"no", Content_Type=kind).status == 403
        assert client.ask(b"/", b"POST", b"a=b", Content_Type=FORM).status == 403
        # A target is in logs and in Referer: no place for a token.
        assert client.ask(b"/?csrf_token=" + token, b"POST", b"a=b", Content_Type=FORM).status == 403


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH"])
def test_whatever_may_change_something_needs_it(method: bytes) -> None:
    with Rig(application()) as rig:
        client = Client(rig)
        token = client.ask(b"/token").body
        assert client.ask(b"/", method, b"").status == 403
        assert client.ask(b"/", method, b"", X_CSRF_Token=token).status == 200


def test_what_changes_nothing_does_not() -> None:
    with Rig(application()) as rig:
        assert [Client(rig).ask(b"/", method).status for method in (b"GET", b"HEAD", b"OPTIONS")] == [200, 200, 204]
        assert Client(rig).ask(b"/", b"GET", Sec_Fetch_Site=b"cross-site", Origin=b"http://evil").status == 200


def test_a_token_is_of_its_session() -> None:
    with Rig(application()) as rig:
        one, two = Client(rig), Client(rig)
        token = one.ask(b"/token").body
        two.ask(b"/token")
        assert (post(two, token), post(Client(rig), token), post(one, token)) == (403, 403, 200)
        assert rig.site.ledger.snapshot()["sessions"] == 2  # a refusal makes none


def test_a_login_ends_the_tokens_of_before() -> None:
    with Rig(application()) as rig:
        client = Client(rig)
        token = client.ask(b"/token").body
        assert client.ask(b"/login", b"POST", b"", X_CSRF_Token=token).status == 200
        assert post(client, token) == 403
        assert post(client, client.ask(b"/token").body) == 200


def test_a_token_that_is_none() -> None:
    with Rig(application()) as rig:
        client = Client(rig)
        token = client.ask(b"/token").body
        other = b"B" if token[:1] == b"A" else b"A"
        for wrong in (b"", b"x", token[:-1], token + b"A", other + token[1:], b"A" * 86, b"!" * 86, b"\xff" * 86):
            assert post(client, wrong) == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec_Fetch_Site": b"same-origin"}, 200),
        ({"Sec_Fetch_Site": b"none"}, 200),
        ({"Sec_Fetch_Site": b"same-site"}, 403),
        ({"Sec_Fetch_Site": b"cross-site"}, 403),
        ({"Origin": b"http://a"}, 200),
        ({"Origin": b"HTTP://A"}, 200),
        ({"Origin": b"https://a"}, 403),
        ({"Origin": b"http://a.evil"}, 403),
        ({"Origin": b"http://a:8080"}, 403),
        ({"Origin": b"null"}, 403),
        ({"Origin": b"http://evil\r\nOrigin: http://a"}, 403),
        ({"Sec_Fetch_Site": b"cross-site\r\nSec-Fetch-Site: same-origin"}, 403),
        ({"Origin": b"http://a", "Sec_Fetch_Site": b"same-origin"}, 200),
        ({"Origin": b"http://b", "Sec_Fetch_Site": b"same-origin"}, 403),
    ],
    ids=str,
)
def test_where_it_comes_from(headers: dict[str, bytes], status: int) -> None:
    with Rig(application()) as rig:
        client = Client(rig)
        assert post(client, client.ask(b"/token").body, **headers) == status


def test_behind_a_proxy_the_origin_is_what_the_client_asked_for() -> None:
    with Rig(application()) as rig:
        rig.site.trusted_proxies = ["127.0.0.1"]
        client = Client(rig)
        proxy = {"X_Forwarded_Proto": b"https", "X_Forwarded_Host": b"shop.example"}
        token = client.ask(b"/token", **proxy).body
        assert post(client, token, Origin=b"https://shop.example", **proxy) == 200
        assert post(client, token, Origin=b"http://shop.example", **proxy) == 403
        assert post(client, token, Origin=b"https://a", **proxy) == 403


def test_checked_by_hand_with_origins_that_are_trusted() -> None:
    router = Router()

    @router.get("/token")
    def token(request: Any) -> str:
        return csrf_token(request)

    @router.post("/")
    def done(request: Any) -> str:
        check_csrf(request, trusted_origins=["https://admin.example"])
        return "done"

    with Rig(router) as rig:
        client = Client(rig)
        token = client.ask(b"/token").body
        cross = {"Origin": b"https://admin.example", "Sec_Fetch_Site": b"cross-site"}
        assert post(client, token, **cross) == 200
        assert client.ask(b"/", b"POST", b"csrf_token=" + token, Content_Type=FORM, **cross).status == 200
        assert post(client, None, **cross) == 403
        assert post(client, token, Origin=b"https://other.example") == 403
