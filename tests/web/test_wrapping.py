"""Wrappers: wherever they are mounted, what is below goes on as without them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.web import server
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest
from zope.interface import implementer

from hardhttp.errors import LimitFault, Reason
from hardhttp.interfaces import IRoutesStreams, IStreamingResource
from hardhttp.testing import Rig
from hardhttp.web.beforehead import before_head, checked_fields, default_fields, drop_field, field, set_field, vary_on
from hardhttp.web.wrapping import Answer, Wrapper
from tests.web.saying import GET, Says, say


class Notes(Wrapper):
    """Notes each time it is asked, and names itself in the head; refuses a path with ``no`` in it."""

    def __init__(self, resource: Any, name: str = "a") -> None:
        super().__init__(resource)
        self.name = name
        self.begun: list[bytes] = []

    def begin(self, request: Any) -> Any:
        if not before_head(request, self.say):
            return None
        self.begun.append(request.path)
        return Answer(lambda request: b"refused") if b"no" in request.path else None

    def say(self, request: Any) -> None:
        request.responseHeaders.addRawHeader(b"X-By", self.name)


def where(request: Any) -> bytes:
    return b"%s|%s" % (b"/".join(request.prepath), b"/".join(request.postpath))


@implementer(IStreamingResource)
class Counts(Resource):
    """Takes its body as it comes."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return where(request)

    def render_POST(self, request: Any) -> Any:
        place = where(request)
        received: list[bytes] = []

        class Receiver(Protocol):
            def dataReceived(self, data: bytes) -> None:
                received.append(data)

            def connectionLost(self, reason: Any = None) -> None:
                if reason.check(ConnectionDone):
                    request.write(b"%s %d streamed" % (place, len(b"".join(received))))
                    request.finish()

        request.deliverBody(Receiver())
        return server.NOT_DONE_YET


@implementer(IRoutesStreams)
class Routes(Resource):
    """A leaf, some of whose paths stream."""

    isLeaf = True

    def streaming_resource(self, request: Any) -> Any:
        return Counts() if request.postpath[-1:] == [b"up"] else None

    def render_GET(self, request: Any) -> bytes:
        return b"routed " + where(request)

    def render_POST(self, request: Any) -> bytes:
        return b"whole %s %d" % (where(request), len(request.content.read()))


class Dynamic(Resource):
    """Makes its children, so nothing may be streamed below it."""

    def getChild(self, path: bytes, request: Any) -> Any:
        return Says(lambda request: b"dynamic " + where(request) + b" %d" % len(request.content.read()))


def tree(wrap: Any) -> Resource:
    root = Resource()
    below = Resource()
    below.putChild(b"leaf", Says(where))
    below.putChild(b"up", Counts())
    below.putChild(b"", Says(where))
    root.putChild(b"tree", wrap(below))
    root.putChild(b"leaf", wrap(Says(where)))
    root.putChild(b"up", wrap(Counts()))
    root.putChild(b"routes", wrap(Routes()))
    root.putChild(b"dynamic", wrap(Dynamic()))
    root.putChild(b"", wrap(Says(where)))
    return root


PATHS = [
    b"/",
    b"/tree",
    b"/tree/",
    b"/tree/leaf",
    b"/tree/leaf/more",
    b"/tree/absent",
    b"/leaf",
    b"/leaf/",
    b"/leaf/a/b",
    b"/up",
    b"/up/x",
    b"/tree/up",
    b"/routes",
    b"/routes/",
    b"/routes/a/b",
    b"/routes/a/up",
    b"/dynamic",
    b"/dynamic/",
    b"/dynamic/a/b",
    b"/absent",
]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda resource: Notes(resource),
        lambda resource: Notes(Notes(resource, "inner"), "outer"),
    ],
)
def test_everything_below_is_as_without(wrap: Any, method: bytes) -> None:
    def answers(root: Any) -> list[tuple[int, bytes]]:
        body = b"0123456789" if method == b"POST" else None
        with Rig(root) as rig:
            answered = [rig.exchange(say(method, path, body), methods=[method])[0] for path in PATHS]
            rig.flush()  # a Resource without render_GET fails at HEAD
        return [(response.status, response.body.partition(b"<p class=id>")[0]) for response in answered]

    def plain(pairs: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        return [(status, body if status == 200 else b"") for status, body in pairs]

    expected = plain(answers(tree(lambda resource: resource)))
    assert plain(answers(tree(wrap))) == expected
    assert plain(answers(wrap(tree(lambda resource: resource)))) == expected
    assert (200, b"up| 10 streamed") in expected or method != b"POST"


def test_each_request_is_seen_once_though_the_tree_is_walked_twice() -> None:
    notes = Notes(tree(lambda resource: resource))
    with Rig(notes) as rig:
        for path in (b"/leaf", b"/up", b"/routes/up", b"/routes/x", b"/dynamic/x", b"/tree"):
            (response,) = rig.exchange(say(b"POST", path, b"body"))
            assert response.get(b"x-by") == b"a"
            assert notes.begun == [path]
            notes.begun.clear()


def test_one_mounted_on_the_very_path_is_seen_once_too() -> None:
    root = Resource()
    root.putChild(b"routes", notes := Notes(Routes()))
    with Rig(root) as rig:
        for path, method in (
            (b"/routes", b"POST"),
            (b"/routes/up", b"POST"),
            (b"/routes", b"HEAD"),
            (b"/routes", b"PUT"),
        ):
            rig.exchange(say(method, path, b"body" if method == b"POST" else None), methods=[method])
    assert len(notes.begun) == 4


def test_an_answer_comes_before_the_body() -> None:
    notes = Notes(Says(lambda request: b"reached"))
    with Rig(notes) as rig:
        peer = rig.connect()
        peer.send(say(b"POST", b"/no", Content_Length=b"10", Expect=b"100-continue"))
        (response,) = peer.responses()  # and no 100
        assert (response.status, response.body) == (200, b"refused")
        root = Resource()
        root.putChild(b"no", Notes(Says(lambda request: b"reached")))
        rig.site.resource = root
        for method, body in ((b"GET", None), (b"POST", b"0123")):
            for path in (b"/no", b"/no/", b"/no/more"):
                assert rig.exchange(say(method, path, body))[0].body == b"refused"


def test_the_last_to_ask_is_called_first() -> None:
    with Rig(Notes(Notes(Says(where), "inner"), "outer")) as rig:
        assert rig.exchange(GET)[0].get(b"x-by") == b"inner, outer"


def raises(error: BaseException) -> Any:
    def answer(request: Any) -> bytes:
        request.setHeader(b"X-Secret", b"1")
        raise error

    return answer


def test_error_pages_and_refusals_have_it() -> None:
    fault = LimitFault(413, Reason.FORM_FIELDS, "too many")
    with Rig(Notes(Says(raises(RuntimeError("broken"))))) as rig:
        for resource, status in (
            (Says(raises(RuntimeError("broken"))), 500),
            (Says(raises(fault)), 413),
            (Resource(), 404),
            (Says(lambda request: request.setHeader(b"X-Bad", b"a\x00b") or b""), 500),
        ):
            rig.site.resource = Notes(resource)
            (response,) = rig.exchange(GET)
            assert (response.status, response.get(b"x-by")) == (status, b"a")
            assert response.get(b"x-secret") is None
        (response,) = rig.exchange(say(b"PUT"))
        assert (response.status, response.get(b"x-by")) == (405, b"a")
        rig.flush()


def test_a_body_that_grows_too_long_is_refused_with_it() -> None:
    from hardhttp import Limits

    with Rig(Notes(Says(where)), limits=Limits(max_body_bytes=10)) as rig:
        (response,) = rig.exchange(say(b"POST", Transfer_Encoding=b"chunked") + b"b\r\n01234567890\r\n0\r\n\r\n")
        assert (response.status, response.get(b"x-by")) == (413, b"a")
        assert len(response.headers) == len({name for name, _ in response.headers})


def test_one_that_fails_costs_itself_alone() -> None:
    class Broken(Notes):
        def say(self, request: Any) -> None:
            raise RuntimeError("broken")

    with Rig(Notes(Broken(Says(where)))) as rig:
        (response,) = rig.exchange(GET)
        assert (response.status, response.get(b"x-by")) == (200, b"a")
        assert len(rig.flush()) == 1


def test_streams_and_empty_answers_have_it() -> None:
    def pieces(request: Any) -> Any:
        request.write(b"one")
        request.write(b"two")
        request.finish()
        return server.NOT_DONE_YET

    def empty(request: Any) -> Any:
        request.finish()
        return server.NOT_DONE_YET

    for answer in (pieces, empty):
        with Rig(Notes(Says(answer))) as rig:
            assert rig.exchange(GET)[0].get(b"x-by") == b"a"


def test_under_twisted_web() -> None:
    """The walk and the call are as ``twisted.web``'s own server makes them."""
    from twisted.web.resource import getChildForRequest

    for path in ([b"tree", b"leaf", b"more"], [b"leaf"], [b"routes", b"a"], [b"dynamic", b"x"]):
        request, bare = DummyRequest([*path]), DummyRequest([*path])
        request.path = b"/" + b"/".join(path)
        resource = getChildForRequest(Notes(tree(lambda resource: resource)), request)
        expected = getChildForRequest(tree(lambda resource: resource), bare)
        assert type(resource) is type(expected)
        assert (request.prepath, request.postpath) == (bare.prepath, bare.postpath)
        assert request.responseHeaders.getRawHeaders(b"x-by") == [b"a"]


def test_what_does_not_stream_is_not_named_as_if() -> None:
    with Rig(Says(lambda request: repr(Notes(Says(where)).streaming_resource(request)))) as rig:
        assert rig.exchange(GET)[0].body == b"None"


def test_the_deadline_of_what_is_wrapped() -> None:
    resource = Says(where)
    assert Notes(resource).handling_seconds is None
    resource.handling_seconds = 3.0  # type: ignore[attr-defined]
    assert Notes(Notes(resource)).handling_seconds == 3.0


def test_children_go_to_what_is_wrapped() -> None:
    notes = Notes(Resource())
    notes.putChild(b"child", Says(where))
    with Rig(notes) as rig:
        assert rig.exchange(say(target=b"/child"))[0].body == b"child|"


# -- fields -----------------------------------------------------------------------------------------


def both(request: Any) -> Any:
    """The two states of a request's headers: noted, and made."""
    yield
    request.responseHeaders.hasHeader(b"x")
    yield


def test_fields_by_either_way() -> None:
    seen: list[Any] = []

    def answer(request: Any) -> bytes:
        for _ in both(request):
            set_field(request, b"X-One", b"1")
            default_fields(request, {b"X-One": b"2", b"X-Two": b"2"})
            seen.append((field(request, b"X-One"), field(request, b"X-Two"), field(request, b"X-None")))
            drop_field(request, b"X-Two")
            seen.append(field(request, b"X-Two"))
            vary_on(request, [b"Origin"])
            vary_on(request, [b"origin", b"Accept"])
            seen.append(field(request, b"Vary"))
            drop_field(request, b"Vary")
        return b""

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
        assert seen == [(b"1", b"2", None), None, b"Origin, Accept"] * 2
        assert response.get(b"x-one") == b"1"
        assert response.get(b"vary") is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], b"Origin"),
        ([b"*"], b"*"),
        ([b"accept, ORIGIN"], b"accept, ORIGIN"),
        ([b"a", b"b"], b"a, b, Origin"),
        ([b""], b"Origin"),
    ],
)
def test_vary(given: list[bytes], expected: bytes) -> None:
    def answer(request: Any) -> bytes:
        if given:
            request.responseHeaders.setRawHeaders(b"vary", given)
        vary_on(request, [b"Origin"])
        return b""

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
        assert [value for name, value in response.headers if name == b"vary"] == [expected]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X A", "1"), ("X:", "1"), ("", "1"), ("X", ""), ("X", "a\r\nB: c"), ("X", "a\nb"), ("X", "\0"), ("X", "\u00e9")],
)
def test_fields_that_cannot_be_sent(name: str, value: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        checked_fields({name: value})


def test_names_as_they_go_out() -> None:
    assert checked_fields({"etag": '"a"', "x-frame-options": "DENY"}) == {b"ETag": b'"a"', b"X-Frame-Options": b"DENY"}
