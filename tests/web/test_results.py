"""What a handler returns, and what goes out."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict, UserDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.web.iweb import IBodyProducer
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp.testing import Response, Rig
from hardhttp.web.jsontext import encode_json
from hardhttp.web.response import Response as Answer
from hardhttp.web.routing import Router
from tests.web.saying import GET, say

HTML = b"text/html; charset=utf-8"


def routed(handler: Callable[[Any], Any]) -> Router:
    router = Router()
    router.get("/")(handler)
    return router


def answered(handler: Callable[[Any], Any], message: bytes = GET) -> Response:
    """What goes out, where nothing fails."""
    with Rig(routed(handler)) as rig:
        (response,) = rig.exchange(message, methods=[message.split()[0]])
        return response


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Point:
    x: int
    y: int
    seen: datetime | None = None
    more: list[Any] = field(default_factory=list)


@attrs.frozen
class User:
    name: str
    place: Point


@dataclass(slots=True)
class Slotted:
    a: int


class Pair(NamedTuple):
    a: int
    b: int


AN_ID = UUID("12345678-1234-5678-1234-56789abcdef0")

# -- JSON --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": [True, None, 2.5]}, '{"a":1,"b":[true,null,2.5]}'),
        ([], "[]"),
        ({"name": "Gr\u00fc\u00dfe \U0001f600"}, '{"name":"Gr\u00fc\u00dfe \U0001f600"}'),
        ({1: "a", None: "b"}, '{"1":"a","null":"b"}'),
        (Point(1, 2), '{"x":1,"y":2,"seen":null,"more":[]}'),
        (
            [Point(1, 2, datetime(2024, 1, 2, tzinfo=UTC), [Colour.RED])],
            '[{"x":1,"y":2,"seen":"2024-01-02T00:00:00+00:00","more":["red"]}]',
        ),
        (User("a", Point(1, 2)), '{"name":"a","place":{"x":1,"y":2,"seen":null,"more":[]}}'),
        (Slotted(1), '{"a":1}'),
        (MappingProxyType({"a": Level.HIGH}), '{"a":3}'),
        (UserDict({"a": OrderedDict(b=1)}), '{"a":{"b":1}}'),
        ([date(2024, 1, 2), time(3, 4)], '["2024-01-02","03:04:00"]'),
        ([AN_ID, Decimal("0.10")], f'["{AN_ID}","0.10"]'),
        ([{3, 1, 2}, frozenset("b")], '[[1,2,3],["b"]]'),
        ([Pair(1, 2), (3,)], "[[1,2],[3]]"),
        ([10**30], "[1000000000000000000000000000000]"),
        (["\u2028</script>\0"], '["\u2028</script>\\u0000"]'),
    ],
)
def test_json(value: Any, text: str) -> None:
    assert encode_json(value).decode("utf-8") == text
    json.loads(text)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([float("nan")], ValueError),
        ({"a": float("inf")}, ValueError),
        (["\ud800"], ValueError),
        ([b"bytes"], TypeError),
        ([object()], TypeError),
        ({(1, 2): 3}, TypeError),
        ([{1, "a"}], TypeError),
        ([Point], TypeError),
        ([Deferred()], TypeError),
    ],
)
def test_what_is_no_json(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode_json(value)


def test_what_contains_itself_is_no_json() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(RecursionError):
        encode_json(circle)
    assert encode_json([1]) == b"[1]"  # and the next one is none the worse for it


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half of a surrogate pair is no text.
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(JSON)
def test_json_is_read_as_it_was(value: Any) -> None:
    assert json.loads(encode_json(value)) == value


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "body"),
    [
        ("<p>Gr\u00fc\u00dfe", HTML, "<p>Gr\u00fc\u00dfe".encode()),
        ("", HTML, b""),
        (b"\x00\xff", b"text/html", b"\x00\xff"),
        (bytearray(b"ab"), b"text/html", b"ab"),
        (memoryview(b"ab"), b"text/html", b"ab"),
        ({"a": 1}, b"application/json", b'{"a":1}'),
        ([], b"application/json", b"[]"),
        (OrderedDict(a=1), b"application/json", b'{"a":1}'),
        (MappingProxyType({"a": 1}), b"application/json", b'{"a":1}'),
        (Slotted(1), b"application/json", b'{"a":1}'),
        (User("a", Point(1, 2)), b"application/json", encode_json(User("a", Point(1, 2)))),
        (Answer(201, {"Content-Type": "text/x"}, b"made"), b"text/x", b"made"),
    ],
)
def test_values(value: Any, kind: bytes, body: bytes) -> None:
    for handler in (
        lambda request: value,
        lambda request: succeed(value),
        asynchronous(value),
        inlineCallbacks(lambda request: (yield succeed(value))),
    ):
        response = answered(handler)
        assert (response.status, response.get(b"content-type"), response.body) == (
            getattr(value, "status", 200),
            kind,
            body,
        )


def asynchronous(value: Any) -> Any:
    async def handler(request: Any) -> Any:
        await succeed(None)
        return value

    return handler


def test_a_type_that_was_set_stays() -> None:
    for value in ("a", {"a": 1}, [1], b"a", Slotted(1), bytearray(b"a"), iter([b"a"])):

        def handler(request: Any, value: Any = value) -> Any:
            request.setHeader(b"Content-Type", b"text/x-mine")
            return value

        assert answered(handler).get(b"content-type") == b"text/x-mine"


def test_none_is_204_or_the_status_that_was_set() -> None:
    response = answered(lambda request: None)
    assert (response.status, response.body, response.get(b"content-length")) == (204, b"", None)

    def created(request: Any) -> None:
        request.setResponseCode(201)
        request.setHeader(b"Location", b"/a")

    response = answered(created)
    assert (response.status, response.body, response.get(b"location")) == (201, b"", b"/a")


def test_a_status_that_was_set_stays() -> None:
    def handler(request: Any) -> Any:
        request.setResponseCode(404)
        return {"no": "such"}

    assert answered(handler).status == 404


def test_a_handler_that_writes_for_itself() -> None:
    async def handler(request: Any) -> None:
        request.write(b"one ")
        await succeed(None)
        request.write(b"two")

    assert answered(handler).body == b"one two"

    def finishes(request: Any) -> Any:
        request.write(b"all")
        request.finish()

    with Rig(routed(finishes)) as rig:
        assert rig.exchange(GET)[0].body == b"all"
        assert rig.site.statistics.ignored_writes == 0  # it is not finished again

    def never_said_so(request: Any) -> Any:
        request.write(b"a")
        request.finish()
        return NOT_DONE_YET

    assert answered(never_said_so).body == b"a"


@pytest.mark.parametrize("value", [("a", 404), 5, True, 2.5, object(), {1, 2}, Point])
def test_what_is_no_answer(value: Any) -> None:
    for handler in (lambda request: value, asynchronous(value)):
        with Rig(routed(handler)) as rig:
            (response,) = rig.exchange(GET)
            assert response.status == 500
            (failure,) = rig.flush()
            assert failure.check(TypeError)
            assert f"returned {type(value).__name__};" in str(failure.value)
            assert rig.site.statistics.errors == 1


def test_nan_is_a_500_and_no_half_json() -> None:
    with Rig(routed(lambda request: {"a": float("nan")})) as rig:
        (response,) = rig.exchange(GET)
        assert response.status == 500
        assert response.get(b"content-type") == HTML
        assert rig.flush()[0].check(ValueError)


# -- streams -----------------------------------------------------------------------------------


def test_iterators_are_sent_as_they_come() -> None:
    def generated(request: Any) -> Any:
        yield b"one "
        yield "tw\u00f6"

    async def generated_later(request: Any) -> Any:
        yield b"one "
        await succeed(None)
        yield "tw\u00f6"

    for handler in (generated, generated_later, lambda request: iter([b"one ", "tw\u00f6"])):
        response = answered(handler)
        assert (response.body, response.complete) == ("one tw\u00f6".encode(), True)
        assert response.get(b"transfer-encoding") == b"chunked"
        assert response.get(b"content-type") == HTML


@implementer(IBodyProducer)
class Producer:
    length = 5

    def __init__(self) -> None:
        self.stopped = 0

    def startProducing(self, consumer: Any) -> Any:
        consumer.write(b"hello")
        return succeed(None)

    def stopProducing(self) -> None:
        self.stopped += 1

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


def test_a_body_producer() -> None:
    response = answered(lambda request: Producer())
    assert (response.body, response.get(b"content-length")) == (b"hello", b"5")


def test_backpressure_holds_an_iterator_and_its_end_closes_it() -> None:
    taken, closed = [], []

    def handler(request: Any) -> Any:
        try:
            for n in range(10_000):
                taken.append(n)
                yield b"x" * 10_000
        finally:
            closed.append(True)

    with Rig(routed(handler)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        waiting = len(taken)
        assert 0 < waiting < 200
        peer.take(200_000)
        assert waiting < len(taken) < 400
        assert closed == []
        peer.reset()
        rig.clock.turn()
        assert closed == [True]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_an_iterator_that_fails_half_way_ends_the_connection(error: type[BaseException]) -> None:
    def handler(request: Any) -> Any:
        yield b"half"
        raise error("as it should")

    with Rig(routed(handler)) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert peer.aborted
        (response,) = peer.responses()
        assert not response.complete
        assert b"half" in response.body
        assert len(rig.flush()) == 1


def test_head_of_a_stream_starts_nothing_and_closes_it() -> None:
    begun = []

    def handler(request: Any) -> Any:
        begun.append(True)
        yield b"a"

    response = answered(handler, say(b"HEAD"))
    assert (response.status, response.body, begun) == (200, b"", [])


def test_what_comes_after_its_client_has_gone_is_closed() -> None:
    waiting: Deferred[Any] = Deferred(lambda it: it.callback(None))
    producer = Producer()

    async def handler(request: Any) -> Any:
        await waiting  # a handler that does not mind being cancelled
        return producer

    with Rig(routed(handler)) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.reset()
        assert producer.stopped == 1


def test_a_failed_deferred_is_a_500() -> None:
    with Rig(routed(lambda request: fail(RuntimeError("as it should")))) as rig:
        (response,) = rig.exchange(GET)
        assert response.status == 500
        assert rig.flush()[0].check(RuntimeError)
