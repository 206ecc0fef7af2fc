"""Patterns, what paths they take, and the tree they are found in."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hardhttp.web.patterns import (
    CONVERTERS,
    MAX_INT_DIGITS,
    MAX_SEGMENTS,
    Converter,
    Parameter,
    Pattern,
    RouteError,
    parse_pattern,
)
from hardhttp.web.routetree import RouteTree

AN_ID = "12345678-1234-5678-1234-56789abcdef0"


class Named:
    """What ends in a tree: a pattern's text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def describe(self) -> str:
        return self.text


def tree_of(*texts: str, converters: Any = CONVERTERS, methods: tuple[bytes, ...] = (b"GET",)) -> RouteTree:
    tree = RouteTree()
    for text in texts:
        enter(tree, parse_pattern(text, converters), methods)
    return tree


def enter(tree: RouteTree, pattern: Pattern, methods: tuple[bytes, ...] = (b"GET",)) -> None:
    ending = Named(pattern.text)
    for segments in pattern.variants():
        tree.check(segments, methods, ending)
    for segments in pattern.variants():
        tree.add(segments, methods, ending)


def decoded(path: str) -> list[bytes]:
    """As a request has its ``postpath``."""
    return [unquote_to_bytes(segment) for segment in path.split("/")[1:]]


def find(tree: RouteTree, path: str, method: bytes = b"GET") -> tuple[str, list[Any]] | None:
    found = tree.find(method, decoded(path))
    return None if found is None else (found[0].text, found[1])


# -- what a parameter takes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("", "", []),
        ("/", "/", []),
        ("/", "//", None),
        ("/a", "/a", []),
        ("/a", "/a/", None),
        ("/a/", "/a", None),
        ("/a", "/A", None),
        ("/caf\u00e9", "/caf%C3%A9", []),
        ("/a b", "/a%20b", []),
        ("/100%", "/100%25", []),
        ("/{x}", "/a", ["a"]),
        ("/{x}", "/caf%C3%A9", ["caf\u00e9"]),
        ("/{x}", "/", None),
        ("/{x}", "/a/b", None),
        ("/{x}", "/a%2Fb", ["a/b"]),
        ("/{x}/c", "/a%2fb/c", ["a/b"]),
        ("/a/b", "/a%2Fb", None),
        ("/{x}", "/%FF", None),
        ("/{x}", "/%C3", None),
        ("/{x}", "/%ED%A0%80", None),
        ("/{x}", "/%C0%AF", None),
        ("/{x}", "/..", None),
        ("/{x}", "/%2e%2E", None),
        ("/{x}", "/.", None),
        ("/{x}", "/...", ["..."]),
        ("/{x}", "/%00", ["\0"]),
        ("/{x:int}", "/0", [0]),
        ("/{x:int}", "/007", [7]),
        ("/{x:int}", "/" + "9" * MAX_INT_DIGITS, [10**MAX_INT_DIGITS - 1]),
        ("/{x:int}", "/" + "9" * (MAX_INT_DIGITS + 1), None),
        ("/{x:int}", "/", None),
        ("/{x:int}", "/-1", None),
        ("/{x:int}", "/+1", None),
        ("/{x:int}", "/1_0", None),
        ("/{x:int}", "/%201", None),
        ("/{x:int}", "/1%0A", None),
        ("/{x:int}", "/%D9%A1", None),  # an Arabic one
        ("/{x:int}", "/%C2%B2", None),  # a superscript two
        ("/{x:uuid}", "/" + AN_ID, [UUID(AN_ID)]),
        ("/{x:uuid}", "/" + AN_ID.upper(), [UUID(AN_ID)]),
        ("/{x:uuid}", "/" + AN_ID.replace("-", ""), None),
        ("/{x:uuid}", "/{" + AN_ID + "}", None),
        ("/{x:uuid}", "/" + AN_ID + "%0A", None),
        ("/f/{x:path}", "/f/a/b", ["a/b"]),
        ("/f/{x:path}", "/f/", [""]),
        ("/f/{x:path}", "/f", None),
        ("/f/{x:path?}", "/f", []),
        ("/f/{x:path}", "/f/a//b/", ["a//b/"]),
        ("/f/{x:path}", "/f/a%2Fb", None),
        ("/f/{x:path}", "/f/a/../b", None),
        ("/f/{x:path}", "/f/a/%2e%2e/b", None),
        ("/f/{x:path}", "/f/a/..%2fb", None),
        ("/f/{x:path}", "/f/a/./b", None),
        ("/f/{x:path}", "/f/a/.../b", ["a/.../b"]),
        ("/f/{x:path}", "/f/a/%FF", None),
        ("/{x?}", "", []),
        ("/{x?}", "/a", ["a"]),
        ("/{x?}", "/", None),
        ("/a/{x?}/{y:int?}", "/a", []),
        ("/a/{x?}/{y:int?}", "/a/b", ["b"]),
        ("/a/{x?}/{y:int?}", "/a/b/3", ["b", 3]),
        ("/a/{x?}/{y:int?}", "/a/b/c", None),
    ],
)
def test_what_a_pattern_takes(pattern: str, path: str, values: list[Any] | None) -> None:
    found = find(tree_of(pattern), path)
    assert found == (None if values is None else (pattern, values))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "does not begin with a slash"),
        ("/{", "is no parameter"),
        ("/{}", "is no parameter"),
        ("/a{x}", "is no parameter"),
        ("/{x}{y}", "is no parameter"),
        ("/{1x}", "is no parameter"),
        ("/{x:}", "is no parameter"),
        ("/{x y}", "is no parameter"),
        ("/}", "is no parameter"),
        ("/{x:float}", "no converter 'float', only int, path, str, uuid"),
        ("/{x}/{x}", "has x twice"),
        ("/{request}", "the name request is taken"),
        ("/{x:path}/a", "nothing can follow x"),
        ("/{x:path}/{y?}", "nothing can follow x"),
        ("/{x?}/a", "what follows x must be optional too"),
        ("/{x?}/", "what follows x must be optional too"),
        ("/{x?}/{y}", "what follows x must be optional too"),
        ("/a/../b", "no client asks for '..'"),
        ("/.", "no client asks for '.'"),
        ("/a" * (MAX_SEGMENTS + 1), f"at most {MAX_SEGMENTS}"),
    ],
)
def test_what_is_no_pattern(text: str, said: str) -> None:
    with pytest.raises(RouteError, match=said.replace(".", r"\.")):
        parse_pattern(text)


def test_the_longest_pattern() -> None:
    text = "/a" * MAX_SEGMENTS
    assert find(tree_of(text), text) == (text, [])


@pytest.mark.parametrize("text", ["/a/", "/{x?}", "/{x:path}", "a", "//"])
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(RouteError, match=r"prefix|slash"):
        parse_pattern(text, prefix=True)


def test_a_prefix_before_a_pattern() -> None:
    prefix = parse_pattern("/a/{x}", prefix=True)
    assert prefix.joined(parse_pattern("")).text == "/a/{x}"
    assert prefix.joined(parse_pattern("/")).text == "/a/{x}/"
    assert prefix.joined(parse_pattern("/b")).segments[-1] == b"b"
    assert parse_pattern("/", prefix=True).joined(parse_pattern("/b")).text == "/b"
    with pytest.raises(RouteError, match="has x twice"):
        prefix.joined(parse_pattern("/{x}"))
    with pytest.raises(RouteError, match="at most"):
        prefix.joined(parse_pattern("/a" * (MAX_SEGMENTS - 1)))


# -- converters of one's own -------------------------------------------------------------------


def _hex(text: str) -> int:
    if len(text) != 4:
        raise ValueError("four digits")
    return int(text, 16)


HEX = Converter("hex", _hex, lambda value: f"{value:04x}")


def test_a_converter_of_ones_own() -> None:
    converters = {**CONVERTERS, "hex": HEX}
    tree = tree_of("/{x:hex}", "/{x:int}", "/{x}", converters=converters)
    assert find(tree, "/00ff") == ("/{x:hex}", [255])
    assert find(tree, "/0010") == ("/{x:int}", [10])  # int goes before
    assert find(tree, "/wxyz") == ("/{x}", ["wxyz"])
    assert find(tree_of("/{x:hex}", converters=converters), "/%FF%FF%FF%FF") is None
    assert parse_pattern("/{x:hex}", converters).format({"x": 255}) == "/00ff"
    with pytest.raises(ValueError, match="x is 65536, which is no hex"):
        parse_pattern("/{x:hex}", converters).format({"x": 65536})


def test_two_of_one_rank_are_ambiguous() -> None:
    converters = {**CONVERTERS, "hex": HEX, "sku": Converter("sku", str)}
    with pytest.raises(RouteError, match=r"/\{y:sku\}/b is ambiguous.* sku and hex .* /\{x:hex\}"):
        tree_of("/{x:hex}", "/{y:sku}/b", converters=converters)
    later = {**converters, "sku": Converter("sku", str, rank=2.5)}
    assert find(tree_of("/{x:hex}", "/{y:sku}", converters=later), "/zzzz") == ("/{y:sku}", ["zzzz"])


# -- the tree ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "path", "expected"),
    [
        (["/{x:path}", "/{x}", "/{x:uuid}", "/{x:int}", "/5"], "/5", "/5"),
        (["/{x:path}", "/{x}", "/{x:uuid}", "/{x:int}", "/5"], "/6", "/{x:int}"),
        (["/{x:path}", "/{x}", "/{x:uuid}", "/{x:int}", "/5"], "/" + AN_ID, "/{x:uuid}"),
        (["/{x:path}", "/{x}", "/{x:uuid}", "/{x:int}", "/5"], "/six", "/{x}"),
        (["/{x:path}", "/{x}", "/{x:uuid}", "/{x:int}", "/5"], "/5/6", "/{x:path}"),
        # What a text leads to goes first, and the way back is found.
        (["/a/{x}/c", "/{y}/b/d"], "/a/b/d", "/{y}/b/d"),
        (["/a/{x}/c", "/{y}/b/d"], "/a/b/c", "/a/{x}/c"),
        (["/a/{x:path}", "/{y}/b"], "/a/b", "/a/{x:path}"),
        (["/{y:int}/b", "/{x}/c"], "/1/c", "/{x}/c"),
        (["/a/b", "/{x:path}"], "/a/c", "/{x:path}"),
        (["/a", "/a/{x}/{y?}"], "/a/b", "/a/{x}/{y?}"),
    ],
)
def test_precedence(texts: list[str], path: str, expected: str) -> None:
    for order in (texts, texts[::-1]):
        found = find(tree_of(*order), path)
        assert found is not None
        assert found[0] == expected


def test_a_method_is_part_of_the_match() -> None:
    tree = tree_of("/users/me")
    enter(tree, parse_pattern("/users/{x}"), (b"POST",))
    assert find(tree, "/users/me") == ("/users/me", [])
    assert find(tree, "/users/me", b"POST") == ("/users/{x}", ["me"])
    assert find(tree, "/users/me", b"PUT") is None
    there = [sorted(by_method) for by_method in tree.endings(decoded("/users/me"))]
    assert there == [[b"GET", b"HEAD"], [b"POST"]]


def test_head_is_answered_by_get_unless_it_has_a_route() -> None:
    for order in ((b"GET", b"HEAD"), (b"HEAD", b"GET")):
        tree = RouteTree()
        for method in order:
            segments = parse_pattern("/a").segments
            ending = Named(method.decode())
            tree.check(segments, (method,), ending)
            tree.add(segments, (method,), ending)
        assert find(tree, "/a", b"HEAD") == ("HEAD", [])
        assert find(tree, "/a") == ("GET", [])
        with pytest.raises(RouteError):
            tree.check(segments, (b"HEAD",), Named("again"))
    assert find(tree_of("/a"), "/a", b"HEAD") == ("/a", [])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a", "/a"),
        ("/{x}", "/{y}"),
        ("/a/{x:int}/b", "/a/{y:int}/b"),
        ("/a/{x?}", "/a"),
        ("/a", "/a/{x?}"),
        ("/a/{x?}", "/a/{y}"),
        ("/a/{x?}", "/a/{y:int?}"),
        ("/{x:path}", "/{y:path}"),
        ("/a/{x:path?}", "/a"),
    ],
)
def test_routes_that_exclude_each_other_are_named(first: str, second: str) -> None:
    with pytest.raises(RouteError) as raised:
        tree_of(first, second)
    assert str(raised.value) == f"{second} is the same route as {first}"


# -- a model -----------------------------------------------------------------------------------

LITERALS = st.sampled_from(["a", "b", "1", "22", AN_ID])
PARAMETERS = st.sampled_from(["{%s}", "{%s:int}", "{%s:uuid}"])


@st.composite
def patterns(draw: Any) -> str:
    segments = draw(st.lists(st.one_of(LITERALS, PARAMETERS), max_size=3))
    segments += draw(st.lists(st.sampled_from(["{%s?}", "{%s:int?}"]), max_size=2))
    optional = segments and segments[-1].endswith("?}")
    if draw(st.booleans()) and not optional:
        segments.append(draw(st.sampled_from(["{%s:path}", "{%s:path?}", ""])))
    named = [segment % f"p{n}" if "%" in segment else segment for n, segment in enumerate(segments)]
    return "".join("/" + segment for segment in named)


def value_of(segment: bytes | Parameter, given: bytes) -> Any:
    """What one segment of a pattern makes of one of a path, written as the documents say it."""
    if isinstance(segment, bytes):
        return True if segment == given else None
    if segment.converter.name == "int":
        return int(given) if given.isdigit() and len(given) < 19 else None
    try:
        text = given.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if segment.converter.name == "uuid":
        return UUID(text) if len(text) == 36 and text.count("-") == 4 else None
    return text if text not in ("", ".", "..") else None


def one_by_one(texts: list[str], path: list[bytes]) -> tuple[str, list[Any]] | None:
    """Every route is tried, and of those that take the path the one whose ranks come first is it."""
    taken: list[tuple[list[float], str, list[Any]]] = []
    for text in texts:
        for segments in parse_pattern(text).variants():
            rest = bool(segments) and isinstance(segments[-1], Parameter) and segments[-1].takes_rest
            plain = segments[:-1] if rest else segments
            if len(path) < len(segments) or (len(path) > len(segments) and not rest):
                continue
            values = [value_of(segment, given) for segment, given in zip(plain, path)]
            left = path[len(plain) :]
            if rest and any(b"/" in segment or segment in (b".", b"..") for segment in left):
                continue
            if any(value is None for value in values):
                continue
            found = [value for segment, value in zip(plain, values) if isinstance(segment, Parameter)]
            try:
                found += [b"/".join(left).decode("utf-8")] if rest else []
            except UnicodeDecodeError:
                continue
            ranks = [segment.converter.rank if isinstance(segment, Parameter) else -1.0 for segment in segments]
            taken.append((ranks, text, found))
    return min(taken, key=lambda one: one[0])[1:] if taken else None


PATHS = st.lists(
    st.one_of(
        st.sampled_from([b"a", b"b", b"1", b"22", AN_ID.encode(), b"", b"..", b"a/b", b"\xff"]), st.binary(max_size=3)
    ),
    max_size=5,
)


@given(st.lists(patterns(), min_size=1, max_size=8), st.lists(PATHS, min_size=1, max_size=6))
def test_the_tree_finds_what_trying_all_finds(texts: list[str], paths: list[list[bytes]]) -> None:
    tree, entered = RouteTree(), []
    for text in texts:
        try:
            enter(tree, parse_pattern(text))
        except RouteError:
            continue
        entered.append(text)
    for path in paths:
        found = tree.find(b"GET", path)
        assert (found and (found[0].text, found[1])) == one_by_one(entered, path)


VALUES = {
    "str": st.text(st.characters(codec="utf-8"), min_size=1),
    "int": st.integers(0, 10**MAX_INT_DIGITS - 1),
    "uuid": st.uuids(),
    "path": st.text(st.characters(codec="utf-8")),
}


@given(patterns(), st.data())
def test_a_path_that_was_made_is_found_again(text: str, data: st.DataObject) -> None:
    pattern = parse_pattern(text)
    given_ = pattern.parameters[: data.draw(st.integers(0, len(pattern.parameters)))]
    if any(not parameter.optional for parameter in pattern.parameters[len(given_) :]):
        given_ = pattern.parameters
    params = {parameter.name: data.draw(VALUES[parameter.converter.name]) for parameter in given_}
    try:
        path = pattern.format(params)
    except ValueError:
        # Only what a client would make another path of has none.
        refused = [str(value).split("/") for value in params.values()]
        assert any({".", ".."} & {*segments} or segments[0] == "" for segments in refused)
        assume(False)
    assert path.isascii()
    assert not path.startswith("//")
    assert find(tree_of(text), path) == (text, [*params.values()])


# -- what is made of values --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "params", "path"),
    [
        ("/a b/{x}", {"x": "c/d?e#f%g"}, "/a%20b/c%2Fd%3Fe%23f%25g"),
        ("/{x}", {"x": "caf\u00e9"}, "/caf%C3%A9"),
        ("/{x}", {"x": 5}, "/5"),
        ("/{x:int}", {"x": "5"}, "/5"),
        ("/{x:uuid}", {"x": UUID(AN_ID)}, "/" + AN_ID),
        ("/f/{x:path}", {"x": "a b/c"}, "/f/a%20b/c"),
        ("/f/{x:path}", {"x": ""}, "/f/"),
        ("/a/{x?}/{y?}", {}, "/a"),
        ("/a/{x?}/{y?}", {"x": "1", "y": None}, "/a/1"),
        ("/", {}, "/"),
        ("", {}, ""),
    ],
)
def test_formatting(text: str, params: dict[str, Any], path: str) -> None:
    assert parse_pattern(text).format(params) == path


@pytest.mark.parametrize(
    ("text", "params", "said"),
    [
        ("/a/{x}", {}, r"/a/\{x\} needs x"),
        ("/a/{x}", {"x": None}, "needs x"),
        ("/a", {"x": 1, "b": 2}, "/a has no place for b, x"),
        ("/{x?}/{y?}", {"y": 1}, "has no place for y without x"),
        ("/{x:int}", {"x": -1}, "x is -1, which is no int"),
        ("/{x:int}", {"x": 2.5}, "x is 2.5, which is no int"),
        ("/{x:int}", {"x": True}, "x is True"),
        ("/{x:int}", {"x": 10**MAX_INT_DIGITS}, "which is no int"),
        ("/{x:uuid}", {"x": "5"}, "x is '5', which is no uuid"),
        ("/{x}", {"x": ""}, "x is '', which is no str"),
        ("/{x}", {"x": ".."}, "x is '..', which is no str"),
        ("/{x}", {"x": "\ud800"}, "which is no str"),
        ("/f/{x:path}", {"x": "a/../b"}, "which is no path"),
        ("/{x:path}", {"x": "/evil.example"}, "would begin with two slashes"),
    ],
)
def test_what_has_no_path(text: str, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_pattern(text).format(params)


# -- what a search costs -----------------------------------------------------------------------


def instructions(call: Any) -> int:
    """How many bytecode instructions ``call`` takes: a measure that no other load changes."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    for _ in range(2):  # CPython 3.12 counts what it has not run before only from the second time on
        count = 0
        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)
    return count


def cost(tree: RouteTree, path: str, method: bytes = b"GET") -> int:
    segments = decoded(path)
    return instructions(lambda: tree.find(method, segments))


def test_a_search_costs_the_same_however_many_routes_there_are() -> None:
    costs = set()
    for count in (10, 100, 1000):
        texts = [text for n in range(count) for text in (f"/r{n}/{{x:int}}/{{y}}", f"/s/t{n}", f"/u/{{x}}/v{n}")]
        tree = tree_of(*texts)
        asked = ("/r0/5/a", f"/r{count - 1}/5/a", "/s/t0", "/u/1/v3", "/nowhere", "/r1/x/a", "/u/1/2")
        costs.add(tuple(cost(tree, path) for path in asked))
    assert len(costs) == 1


def test_a_search_visits_no_node_twice() -> None:
    """The worst an application can do: at every segment a text and two kinds, of which none leads on."""
    depth = 8
    texts = [""]
    for _ in range(depth):
        texts = [text + "/" + segment for text in texts for segment in ("1", "{%s:int}", "{%s}")]
    named = ["/".join(s % f"p{n}" if "%" in s else s for n, s in enumerate(text.split("/"))) for text in texts]
    tree = tree_of(*named[:-1])
    nodes = sum(3**n for n in range(depth + 1))
    assert cost(tree, "/1" * depth, b"PUT") < 150 * nodes
    assert cost(tree, "/1" * depth) < 150 * depth


def test_many_optional_parameters_cost_no_more_than_their_number() -> None:
    short = "/a" + "".join(f"/{{p{n}?}}" for n in range(5))
    long = "/a" + "".join(f"/{{p{n}?}}" for n in range(MAX_SEGMENTS - 1))
    few = cost(tree_of(short), "/a" + "/x" * 5)
    assert cost(tree_of(long), "/a" + "/x" * (MAX_SEGMENTS - 1)) <= few * MAX_SEGMENTS / 5
    assert find(tree_of(long), "/a" + "/x" * MAX_SEGMENTS) is None


def test_a_path_of_many_segments_is_refused_at_once() -> None:
    tree = tree_of("/{x}/{y}", "/a/{z:int}")
    assert cost(tree, "/a" * 4000) <= cost(tree, "/a/1/c") + 50
