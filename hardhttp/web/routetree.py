"""The routes of a router, by segment: finding one costs what its path is long, not how many there are.

Each node stands for the segments that lead to it, and holds what may come next: texts in a dict, and
parameters in their order, one for each kind. A search goes to the text first, then to each parameter
that takes the segment, then to a parameter that takes the rest, at last to a resource mounted here;
the first way that ends at a route with the request's method is taken. So a text goes before a
parameter, ``int`` before ``uuid`` before an application's own kind before ``str`` before ``path``,
segment by segment from the left.

A node is reached by one path alone, so a search visits none twice, and only those whose segments fit
so far: with ordinary routes that is one for each segment. Routes that share a place share its
node, which is where those that exclude each other are found out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from hardhttp.web.patterns import Parameter, RouteError

__all__ = ["Ending", "RouteTree"]

Segments = Sequence[bytes | Parameter]


class Ending(Protocol):
    """What ends at a node: whoever owns the tree knows more of it."""

    def describe(self) -> str:
        """Which one it is, for whoever reads an error."""


class _Node:
    __slots__ = ("children", "endings", "kinds", "mounted", "owner", "rest", "texts")

    def __init__(self) -> None:
        self.texts: dict[bytes, _Node] = {}
        self.kinds: list[tuple[Callable[[bytes], Any], _Node]] = []  # tried in this order
        self.children: dict[str, tuple[Parameter, _Node]] = {}  # the same, by the kind's name
        self.rest: tuple[Callable[[Sequence[bytes]], Any], _Node] | None = None
        self.endings: dict[bytes, Any] = {}  # by method
        self.mounted: Any = None  # what takes whatever is below, and every method
        self.owner: Any = None  # whose a path is that ends below and nowhere


class RouteTree:
    """What there is to find. ``endings`` are whatever the owner puts in."""

    def __init__(self) -> None:
        self._root = _Node()

    # -- building -----------------------------------------------------------------------------

    def check(self, segments: Segments, methods: Iterable[bytes], ending: Ending) -> None:
        """Raise ``RouteError`` naming both, if ``ending`` excludes one that is there."""
        node: _Node | None = self._root
        for segment in segments:
            if node is None:
                return
            if isinstance(segment, Parameter):
                _check_kind(node, segment, ending)
            node = self._next(node, segment)
        if node is None:
            return
        for method in methods:
            there = node.endings.get(method)
            # GET answers HEAD too, unless there is a route for HEAD.
            if there is not None and not (method == b"HEAD" and there is node.endings.get(b"GET")):
                raise RouteError(f"{ending.describe()} is the same route as {there.describe()}")

    def check_mount(self, segments: Segments, ending: Ending) -> None:
        """The same for a resource that takes all that is below."""
        self.check(segments, (), ending)
        node: _Node | None = self._root
        for segment in segments:
            node = None if node is None else self._next(node, segment)
        if node is not None and node.mounted is not None:
            raise RouteError(f"{ending.describe()} is mounted where {node.mounted.describe()} is")

    def add(self, segments: Segments, methods: Iterable[bytes], ending: Ending) -> None:
        """Let ``ending`` be found by ``methods`` at ``segments``. ``check`` comes before."""
        node = self._made(segments)
        for method in methods:
            if method == b"GET":
                node.endings.setdefault(b"HEAD", ending)  # RFC 9110, 9.3.2
            node.endings[method] = ending

    def mount(self, segments: Segments, ending: Ending) -> None:
        """Let ``ending`` be found by every method at and below ``segments``, where no route is."""
        self._made(segments).mounted = ending

    def own(self, segments: Segments, owner: Any) -> None:
        """Let ``owner`` answer for what is not found below ``segments``, unless another does."""
        node = self._made(segments)
        if node.owner is None:
            node.owner = owner

    def _made(self, segments: Segments) -> _Node:
        node = self._root
        for segment in segments:
            child = self._next(node, segment)
            node = child if child is not None else self._make(node, segment)
        return node

    @staticmethod
    def _next(node: _Node, segment: bytes | Parameter) -> _Node | None:
        if isinstance(segment, bytes):
            return node.texts.get(segment)
        child = node.children.get(segment.converter.name)
        return None if child is None else child[1]

    @staticmethod
    def _make(node: _Node, segment: bytes | Parameter) -> _Node:
        child = _Node()
        if isinstance(segment, bytes):
            node.texts[segment] = child
            return child
        node.children[segment.converter.name] = (segment, child)
        if segment.takes_rest:
            node.rest = (segment.converter.convert_rest, child)  # type: ignore[attr-defined] # it is a path
        else:
            ranked = sorted(node.children.values(), key=lambda one: one[0].converter.rank)
            node.kinds = [(one.converter.convert, below) for one, below in ranked if not one.takes_rest]
        return child

    # -- finding ------------------------------------------------------------------------------

    def find(self, method: bytes, segments: Sequence[bytes]) -> tuple[Any, list[Any]] | None:
        """What ends at ``segments`` and takes ``method``, and its parameters' values in their order."""
        values: list[Any] = []
        found = _search(self._root, segments, 0, method, values)
        return None if found is None else (found, values)

    def endings(self, segments: Sequence[bytes]) -> Iterator[dict[bytes, Any]]:
        """For every place where ``segments`` end, what is there by method; first the one found first."""
        return _ends(self._root, segments, 0)

    def owner(self, segments: Sequence[bytes]) -> Any:
        """Who answers for ``segments`` when they end nowhere."""
        node: _Node | None = self._root
        owner = self._root.owner
        for segment in segments:
            assert node is not None
            child = node.texts.get(segment)
            node = child if child is not None else next((n for of, n in node.kinds if of(segment) is not None), None)
            if node is None:
                break
            owner = node.owner or owner
        return owner


def _check_kind(node: _Node, segment: Parameter, ending: Ending) -> None:
    for other, child in node.children.values():
        same_rank = other.converter.rank == segment.converter.rank
        if same_rank and other.converter != segment.converter:
            there = next(_below(child), None)
            raise RouteError(
                f"{ending.describe()} is ambiguous: at one place {segment.converter.name} and {other.converter.name}"
                f" have no order{'' if there is None else f', which is that of {there.describe()}'}"
            )


def _below(node: _Node) -> Iterator[Any]:
    yield from node.endings.values()
    if node.mounted is not None:
        yield node.mounted
    for child in (*node.texts.values(), *(below for _, below in node.children.values())):
        yield from _below(child)


def _search(node: _Node, segments: Sequence[bytes], depth: int, method: bytes, values: list[Any]) -> Any:
    if depth == len(segments):
        found = node.endings.get(method)
        return found if found is not None else node.mounted
    segment = segments[depth]
    child = node.texts.get(segment)
    if child is not None:
        found = _search(child, segments, depth + 1, method, values)
        if found is not None:
            return found
    for convert, child in node.kinds:
        value = convert(segment)
        if value is not None:
            values.append(value)
            found = _search(child, segments, depth + 1, method, values)
            if found is not None:
                return found
            values.pop()
    if node.rest is not None:
        convert_rest, child = node.rest
        found = child.endings.get(method)
        if found is not None:
            value = convert_rest(segments[depth:])
            if value is not None:
                values.append(value)
                return found
    return node.mounted


def _ends(node: _Node, segments: Sequence[bytes], depth: int) -> Iterator[dict[bytes, Any]]:
    if depth == len(segments):
        if node.endings:
            yield node.endings
        return
    segment = segments[depth]
    child = node.texts.get(segment)
    if child is not None:
        yield from _ends(child, segments, depth + 1)
    for convert, child in node.kinds:
        if convert(segment) is not None:
            yield from _ends(child, segments, depth + 1)
    if node.rest is not None:
        convert_rest, child = node.rest
        if convert_rest(segments[depth:]) is not None:
            yield child.endings
