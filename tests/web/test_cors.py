"""Cross-origin requests: who may read, as the Fetch standard has it (3.3), and what caches are told."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from hardhttp.errors import LimitFault, Reason
from hardhttp.testing import Response, Rig
from hardhttp.web.cors import CORS, Origins, own_origin
from tests.web.saying import Says, say

APP = "https://app.example"
OTHER = b"https://evil.example"
PATTERN = "https://*.example.org"


def plain(request: Any) -> bytes:
    return b"said"


def ask(resource: Any, method: bytes = b"GET", **headers: bytes) -> Response:
    with Rig(resource) as rig:
        return rig.exchange(say(method, **headers), methods=[method])[0]


def preflight(resource: Any, origin: bytes = APP.encode(), method: bytes = b"PUT", **headers: bytes) -> Response:
    return ask(resource, b"OPTIONS", Origin=origin, Access_Control_Request_Method=method, **headers)


def cors_of(response: Response) -> dict[str, str]:
    """The CORS fields, without their common beginning."""
    found = {name.decode(): value.decode() for name, value in response.headers if name.startswith(b"access-control-")}
    return {name.removeprefix("access-control-"): value for name, value in found.items()}


# -- origins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "origin", "expected"),
    [
        (APP, "https://app.example", True),
        (APP, "http://app.example", False),
        (APP, "https://app.example:8443", False),
        (APP, "https://app.example.", False),
        (APP, "https://app.example/", False),
        (APP, "https://app.example.evil.example", False),
        (APP, "https://xapp.example", False),
        (APP, "https://appxexample", False),
        (APP, "https://evil.example#https://app.example", False),
        (APP, "https://app.example@evil.example", False),
        (APP, "https://APP.example", False),  # browsers send lower case
        (APP, "null", False),
        (APP, "", False),
        ("HTTPS://App.Example", "https://app.example", True),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "http://127.0.0.1:80", False),
        ("http://[::1]:8080", "http://[::1]:8080", True),
        ("chrome-extension://abcdef", "chrome-extension://abcdef", True),
        ("null", "null", True),
        ("null", "https://null", False),
        (PATTERN, "https://a.example.org", True),
        (PATTERN, "https://xn--bcher-kva.example.org", True),
        (PATTERN, "https://a-b_c.example.org", True),
        (PATTERN, "https://example.org", False),
        (PATTERN, "https://.example.org", False),
        (PATTERN, "https://a.b.example.org", False),
        (PATTERN, "https://-a.example.org", False),
        (PATTERN, "https://a-.example.org", False),
        (PATTERN, "http://a.example.org", False),
        (PATTERN, "https://a.example.org:444", False),
        (PATTERN, "https://a.example.org.evil.example", False),
        (PATTERN, "https://evil.example/.example.org", False),
        (PATTERN, "https://evil.example?.example.org", False),
        (PATTERN, "https://a.example.org\n", False),
        (PATTERN, "https://aXexample.org", False),
        (PATTERN, "https://*.example.org", False),
        (PATTERN, "https://" + "a" * 63 + ".example.org", True),
        (PATTERN, "https://" + "a" * 64 + ".example.org", False),
        ("https://a.*.example.org:8443", "https://a.b.example.org:8443", True),
        ("https://a.*.example.org:8443", "https://b.b.example.org:8443", False),
        ("https://*.*.example.org", "https://a.b.example.org", True),
        ("https://*.*.example.org", "https://a.example.org", False),
        ("http://*.localhost", "http://a.localhost", True),
        ("*", "https://anybody.example", True),
        ("*", "null", True),
    ],
)
def test_origins(given: str, origin: str, expected: bool) -> None:
    assert (origin.encode() in Origins([given])) is expected
    assert (origin.encode() in Origins(["https://first.test", given] if given != "*" else ["*"])) is expected


@pytest.mark.parametrize(
    "origins",
    [
        [],
        APP,
        b"https://app.example",
        ["app.example"],
        ["https://app.example/"],
        ["https://app.example/path"],
        ["https://app.example?x"],
        ["https://user@app.example"],
        ["https://app.example:443"],
        ["http://app.example:80"],
        ["http://app.example:0"],
        ["http://app.example:080"],
        ["http://app.example:65536"],
        ["https://"],
        ["https://a..example"],
        ["https://b\u00fccher.example"],
        ["https://*"],
        ["https://*.org"],
        ["https://a.*.org"],
        ["https://a.b.*"],
        ["https://*a.example.org"],
        ["https://a*.example.org"],
        ["https://**.example.org"],
        ["*://app.example"],
        ["https://app.example:*"],
        ["https://(a|b).example.org"],
        ["*", APP],
        [" https://app.example"],
        [""],
    ],
)
def test_what_is_no_origin(origins: Any) -> None:
    with pytest.raises(ValueError):
        Origins(origins)


def test_all_origins_with_credentials_are_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="credentials"):
        CORS(Says(plain), ["*"], credentials=True)


@pytest.mark.parametrize(
    "options",
    [
        {"methods": "PUT"},
        {"methods": ["P UT"]},
        {"methods": ["*"]},
        {"headers": "X-One"},
        {"headers": ["X One"]},
        {"headers": ["*"]},
        {"headers": ["X\r\nY"]},
        {"headers": ["\u00e9"]},
        {"expose": ["a,b"]},
        {"max_age_seconds": -1},
        {"max_age_seconds": 86_401},
    ],
)
def test_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        CORS(Says(plain), [APP], **options)


# -- answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "origin", "expected"),
    [
        ({}, APP.encode(), {"allow-origin": APP}),
        ({}, OTHER, {}),
        ({}, b"null", {}),
        ({}, None, {}),
        ({"credentials": True}, APP.encode(), {"allow-origin": APP, "allow-credentials": "true"}),
        ({"credentials": True}, OTHER, {}),
        ({"expose": ["X-One", "X-Two"]}, APP.encode(), {"allow-origin": APP, "expose-headers": "X-One, X-Two"}),
        ({"expose": ["X-One"]}, OTHER, {}),
    ],
)
def test_who_may_read(options: dict[str, Any], origin: bytes | None, expected: dict[str, str]) -> None:
    for method in (b"GET", b"HEAD", b"POST"):
        headers = {} if origin is None else {"Origin": origin}
        response = ask(CORS(Says(plain), [APP], **options), method, **headers)
        assert response.status == 200  # whoever asks is answered
        assert cors_of(response) == expected
        assert response.get(b"vary") == b"Origin"


def test_all_origins_need_no_vary() -> None:
    for headers in ({}, {"Origin": OTHER}, {"Origin": b"null"}):
        response = ask(CORS(Says(plain), ["*"]), **headers)
        assert cors_of(response) == {"allow-origin": "*"}
        assert response.get(b"vary") is None


def test_vary_is_merged_with_the_applications() -> None:
    def answer(request: Any) -> bytes:
        request.responseHeaders.addRawHeader(b"Vary", b"Accept")
        request.responseHeaders.addRawHeader(b"Vary", b"Cookie")
        return b""

    for origin in (APP.encode(), OTHER):
        assert ask(CORS(Says(answer), [APP]), Origin=origin).get(b"vary") == b"Accept, Cookie, Origin"


def test_the_applications_own_are_replaced() -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"Access-Control-Allow-Origin", b"*")
        request.responseHeaders.setRawHeaders(b"access-control-allow-credentials", [b"true"])
        return b""

    assert cors_of(ask(CORS(Says(answer), [APP]), Origin=OTHER)) == {}
    assert cors_of(ask(CORS(Says(answer), [APP]), Origin=APP.encode())) == {"allow-origin": APP}
    assert cors_of(ask(CORS(Says(answer), ["*"]), Origin=OTHER)) == {"allow-origin": "*"}


def test_an_error_can_be_read() -> None:
    def raises(error: Exception) -> Any:
        def answer(request: Any) -> bytes:
            raise error

        return Says(answer)

    fault = LimitFault(413, Reason.FORM_FIELDS, "too many")
    cases = [(raises(RuntimeError()), 500), (raises(fault), 413), (Resource(), 404)]
    for resource, status in cases:
        with Rig(CORS(resource, [APP], credentials=True)) as rig:
            (response,) = rig.exchange(say(Origin=APP.encode()))
            assert response.status == status
            assert cors_of(response) == {"allow-origin": APP, "allow-credentials": "true"}
            assert b"Origin" in (response.get(b"vary") or b"")
            (response,) = rig.exchange(say(Origin=OTHER))
            assert (response.status, cors_of(response)) == (status, {})
            assert b"Origin" in (response.get(b"vary") or b"")
            rig.flush()


# -- preflights -------------------------------------------------------------------------------------

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
HEADERS = "Accept, Accept-Language, Content-Language, Content-Type"
ALLOWED = {"allow-origin": APP, "allow-methods": METHODS, "allow-headers": HEADERS, "max-age": "600"}


@pytest.mark.parametrize(
    ("options", "asked", "expected"),
    [
        ({}, {}, ALLOWED),
        ({}, {"Access_Control_Request_Headers": b"x-one, content-type"}, ALLOWED),
        ({"methods": ["GET", "PURGE"]}, {}, ALLOWED | {"allow-methods": "GET, PURGE"}),
        ({"headers": ["X-One"]}, {}, ALLOWED | {"allow-headers": f"{HEADERS}, X-One"}),
        ({"headers": "*"}, {}, ALLOWED),
        (
            {"headers": "*"},
            {"Access_Control_Request_Headers": b"x-one,Authorization"},
            ALLOWED | {"allow-headers": "x-one, authorization"},
        ),
        (
            {"headers": "*"},
            {"Access_Control_Request_Headers": b"x one, x-two;, ok"},
            ALLOWED | {"allow-headers": "ok"},
        ),
        ({"max_age_seconds": 0}, {}, ALLOWED | {"max-age": "0"}),
        ({"max_age_seconds": 86_400}, {}, ALLOWED | {"max-age": "86400"}),
        ({"credentials": True}, {}, ALLOWED | {"allow-credentials": "true"}),
        ({"private_network": True}, {}, ALLOWED),
        (
            {"private_network": True},
            {"Access_Control_Request_Private_Network": b"true"},
            ALLOWED | {"allow-private-network": "true"},
        ),
        ({}, {"Access_Control_Request_Private_Network": b"true"}, ALLOWED),
    ],
)
def test_preflights(options: dict[str, Any], asked: dict[str, bytes], expected: dict[str, str]) -> None:
    reached: list[Any] = []
    response = preflight(CORS(Says(reached.append), [APP], **options), **asked)
    assert (response.status, response.body) == (204, b"")
    assert cors_of(response) == expected
    vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    if options.get("private_network"):
        vary += ", Access-Control-Request-Private-Network"
    assert response.get(b"vary") == vary.encode()
    assert reached == []


def test_a_preflight_of_another_origin_allows_nothing() -> None:
    for origin in (OTHER, b"null", b"https://app.example.evil.example"):
        response = preflight(CORS(Says(plain), [APP], credentials=True), origin)
        assert (response.status, cors_of(response)) == (204, {})
        assert (response.get(b"vary") or b"").startswith(b"Origin, ")


def test_a_preflight_of_all_origins() -> None:
    response = preflight(CORS(Says(plain), ["*"]), OTHER)
    assert cors_of(response)["allow-origin"] == "*"
    assert b"Origin" not in (response.get(b"vary") or b"").replace(b"Access-Control", b"").split(b", ")


def test_what_is_echoed_has_a_bound() -> None:
    names = b", ".join(b"x-%d" % n for n in range(200))
    response = preflight(CORS(Says(plain), [APP], headers="*"), Access_Control_Request_Headers=names)
    assert cors_of(response)["allow-headers"].count(",") == 99


def test_other_options_are_the_applications() -> None:
    class Options(Resource):
        isLeaf = True

        def render_OPTIONS(self, request: Any) -> bytes:
            return b"mine"

    for headers in ({}, {"Origin": APP.encode()}, {"Access_Control_Request_Method": b"PUT"}):
        assert ask(CORS(Options(), [APP]), b"OPTIONS", **headers).body == b"mine"


def test_a_preflight_for_a_path_that_is_not_there() -> None:
    with Rig(CORS(Resource(), [APP])) as rig:
        head = {"Origin": APP.encode(), "Access_Control_Request_Method": b"PUT"}
        (response,) = rig.exchange(say(b"OPTIONS", b"/absent/deep", **head))
        assert (response.status, cors_of(response)) == (204, ALLOWED)


# -- refusing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        (APP.encode(), 200),
        (b"http://a", 200),
        (OTHER, 403),
        (b"https://a", 403),
        (b"null", 403),
        (b"", 403),
    ],
)
def test_refusing_other_origins(origin: bytes | None, status: int) -> None:
    reached: list[int] = []
    headers = {} if origin is None else {"Origin": origin}
    cors = CORS(Says(lambda request: reached.append(1) or b""), [APP], refuse=True)
    response = ask(cors, b"POST", Content_Length=b"0", **headers)
    assert response.status == status
    assert bool(reached) is (status == 200)


def test_ones_own_origin_behind_a_proxy() -> None:
    seen: list[bytes] = []
    with Rig(Says(lambda request: seen.append(own_origin(request)) or b"")) as rig:
        told = {"X_Forwarded_Proto": b"https", "X_Forwarded_Host": b"Shop.example", "X_Forwarded_For": b"1.2.3.4"}
        rig.exchange(say(**told))
        rig.site.trusted_proxies = ["127.0.0.1"]
        rig.exchange(say(**told))
        rig.exchange(say(**told | {"X_Forwarded_Host": b"shop.example:8443"}))
    assert seen == [b"http://a", b"https://shop.example", b"https://shop.example:8443"]


def test_under_twisted_web() -> None:
    request = DummyRequest([b"x"])
    request.requestHeaders.setRawHeaders(b"origin", [APP])
    resource = Says(plain)
    assert CORS(resource, [APP]).getChildWithDefault(b"x", _walked(request)) is resource
    assert request.responseHeaders.getRawHeaders(b"access-control-allow-origin") == [APP.encode()]
    request = DummyRequest([b"x"])
    request.method = b"OPTIONS"
    for name, value in (("origin", APP), ("access-control-request-method", "PUT")):
        request.requestHeaders.setRawHeaders(name, [value])
    answer = CORS(resource, [APP]).getChildWithDefault(b"x", _walked(request))
    assert answer.render(request) == b""
    assert request.responseCode == 204
    assert request.responseHeaders.getRawHeaders(b"access-control-max-age") == [b"600"]


def _walked(request: Any) -> Any:
    request.prepath.append(request.postpath.pop(0))
    return request
