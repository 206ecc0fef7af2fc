"""What a router's tree holds: routes, resources mounted below a prefix, and the prefixes of groups.

Each of them is an ``Entry``: a pattern, the groups it is in, from the outermost router's to its own, and
the hooks that hold there. A router mounted in another is not asked when a request comes: its entries
are in the outer one's tree too, each made anew by ``under`` with the prefix, the groups and the name
that it has from there. So one search finds a handler however deep routers are nested.

Entries do not change once they are made, but for their hooks, which a router keeps up to date.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource, _IEncodingResource

from hardhttp.errors import HTTPError
from hardhttp.web.answering import Hooks, answer
from hardhttp.web.handling import render_as_get
from hardhttp.web.patterns import Parameter, Pattern, RouteError
from hardhttp.web.responding import Responding
from hardhttp.web.results import TEMPLATES, send_value
from hardhttp.web.routetree import RouteTree
from hardhttp.web.stockpages import STOCK_PAGES, ours
from hardhttp.web.streaming import streaming_below

if TYPE_CHECKING:
    from hardhttp.web.routing import Group, Router

__all__ = ["Entry", "Mount", "Prefix", "Route", "Under", "allowed"]

_ANSWERED_LATER = (CoroutineType, Deferred, *TEMPLATES)


@attrs.frozen(eq=False)
class Under:
    """Where a router is mounted: in ``group`` of ``router``, below ``prefix``."""

    router: Router
    group: Group
    prefix: Pattern
    name: str | None


@attrs.define(eq=False)
class Entry:
    """What may be found below a pattern.

    ``pattern`` is whole, from the root of the router that was asked. ``mounts`` are the routers on the way,
    each with the number of segments that are its prefix; the last is the entry's own.
    """

    pattern: Pattern
    groups: tuple[Group, ...] = attrs.field(repr=False)
    name: str | None
    mounts: tuple[tuple[Router, int], ...] = attrs.field(repr=False)
    hooks: Hooks = attrs.field(factory=Hooks, init=False, repr=False)

    def under(self, place: Under) -> Entry:
        """The same, seen from a router it is mounted in."""
        length = len(place.prefix.segments)
        return attrs.evolve(
            self,
            pattern=place.prefix.joined(self.pattern),
            groups=(*place.group.chain, *self.groups),
            name=f"{place.name}.{self.name}" if place.name and self.name else self.name,
            mounts=((place.router, 0), *((router, depth + length) for router, depth in self.mounts)),
        )

    def check(self, tree: RouteTree) -> None:
        """Raise ``RouteError`` where something in ``tree`` excludes this."""
        raise NotImplementedError

    def enter(self, tree: RouteTree) -> None:
        """Let this be found in ``tree``."""
        raise NotImplementedError

    def describe(self) -> str:
        """Which one it is, for whoever reads an error."""
        raise NotImplementedError

    def streaming(self, request: Any, early: Any) -> Any:
        """What is to be rendered before the body has come; ``early`` renders the router."""
        return None

    def enter_mount(self, request: Any) -> None:
        """Make ``prepath`` and ``postpath`` those of the innermost router."""
        depth = self.mounts[-1][1]
        if depth:
            postpath = request.postpath
            request.prepath = request.prepath + postpath[:depth]
            request.postpath = postpath[depth:]


@attrs.define(eq=False)
class Prefix(Entry):
    """A group's prefix: whatever is below and found nowhere is answered by its hooks."""

    def check(self, tree: RouteTree) -> None:
        tree.check(self.pattern.segments, (), self)

    def enter(self, tree: RouteTree) -> None:
        tree.own(self.pattern.segments, self)

    def describe(self) -> str:
        return f"the group {self.pattern.text}"


@attrs.define(eq=False)
class Route(Entry):
    """A handler, and when it is called. ``methods`` are in upper case, as ``request.method`` is."""

    handler: Callable[..., Any]
    methods: tuple[bytes, ...]
    stream: bool = False
    named: bool = False  # by the application, and not by its handler
    _names: tuple[str, ...] = attrs.field(init=False, repr=False)
    _empty: frozenset[str] = attrs.field(init=False, repr=False)  # passed as None when they are missing
    _depth: int = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        parameters = self.pattern.parameters
        self._names = tuple(parameter.name for parameter in parameters)
        self._empty = _without_default(self.handler, parameters, self)
        self._depth = self.mounts[-1][1]

    def check(self, tree: RouteTree) -> None:
        for segments in self.pattern.variants():
            tree.check(segments, self.methods, self)

    def enter(self, tree: RouteTree) -> None:
        for segments in self.pattern.variants():
            tree.add(segments, self.methods, self)

    def describe(self) -> str:
        return f"{b' '.join(self.methods).decode('ascii')} {self.pattern.text or '(empty)'} ({_name_of(self.handler)})"

    def streaming(self, request: Any, early: Any) -> Any:
        return early if self.stream else None

    def render(self, request: Any, values: list[Any]) -> Any:
        """Call the handler; what ``render`` may return."""
        names = self._names
        params = dict(zip(names, values))
        if len(values) != len(names):
            for name in names[len(values) :]:
                if name in self._empty:
                    params[name] = None
        if self._depth:
            self.enter_mount(request)
        request.route = self
        request.route_params = params
        hooks = self.hooks
        if hooks.surround or hooks.errors or not isinstance(request, Responding):
            return answer(request, hooks, partial(self.handler, request, **params))
        # Nothing is to be done around it: what it raises is the request's to answer.
        value = self.handler(request, **params)
        if isinstance(value, _ANSWERED_LATER):
            return answer(request, hooks, lambda: value)
        return send_value(request, value)


def _without_default(handler: Callable[..., Any], parameters: tuple[Parameter, ...], route: Route) -> frozenset[str]:
    """The optional parameters that ``handler`` must be given. Raises ``RouteError`` if it cannot take all."""
    if not callable(handler):
        raise RouteError(f"{route.describe()}: a handler is called, and a {type(handler).__name__} cannot be")
    try:
        signature = inspect.signature(handler)
    except ValueError:  # a builtin that does not say
        return frozenset(p.name for p in parameters if p.optional)
    try:
        signature.bind(None, **{parameter.name: None for parameter in parameters})
    except TypeError as error:
        raise RouteError(
            f"{route.describe()}: the handler is called with request and its parameters: {error}"
        ) from None
    defaults = {name for name, of in signature.parameters.items() if of.default is not inspect.Parameter.empty}
    return frozenset(p.name for p in parameters if p.optional and p.name not in defaults)


def _name_of(handler: Any) -> str:
    module, name = getattr(handler, "__module__", None), getattr(handler, "__qualname__", None)
    return f"{module}.{name}" if module and name else type(handler).__name__


@attrs.define(eq=False)
class Mount(Entry):
    """A resource that takes whatever is below a prefix, by every method.

    Before hooks and error handlers hold for it; after hooks do not, since it writes for itself.
    """

    resource: Any = attrs.field(repr=False)

    def check(self, tree: RouteTree) -> None:
        tree.check_mount(self.pattern.segments, self)

    def enter(self, tree: RouteTree) -> None:
        tree.mount(self.pattern.segments, self)

    def describe(self) -> str:
        return f"{type(self.resource).__name__} at {self.pattern.text or '/'}"

    def streaming(self, request: Any, early: Any) -> Any:
        length = len(self.pattern.segments)
        path, rest = [*request.prepath, *request.postpath[:length]], request.postpath[length:]
        return None if streaming_below(self.resource, request, path, rest) is None else early

    def render(self, request: Any, values: list[Any]) -> Any:
        """Walk on from the resource, as a site does, and render what that leads to."""
        request.route = self
        request.route_params = dict(zip((p.name for p in self.pattern.parameters), values))
        request.route_base = len(request.prepath)
        self.enter_mount(request)
        return answer(request, self.hooks, partial(self._walk, request), after=False)

    def _walk(self, request: Any) -> Any:
        below = len(self.pattern.segments) - self.mounts[-1][1]
        prepath = request.prepath = request.prepath + request.postpath[:below]
        postpath = request.postpath = request.postpath[below:]
        resource: Any = self.resource
        while postpath and not resource.isLeaf:
            segment = postpath.pop(0)
            prepath.append(segment)
            resource = resource.getChildWithDefault(segment, request)
        if type(resource) in STOCK_PAGES and isinstance(request, Responding):
            resource = ours(resource)
        if _IEncodingResource.providedBy(resource):
            request._encoder = resource.getEncoder(request)
        try:
            return resource.render(request)
        except UnsupportedMethod as unsupported:
            return _unsupported(request, resource, unsupported.allowedMethods)


def _unsupported(request: Any, resource: IResource, methods: Any) -> Any:
    if request.method == b"HEAD" and b"GET" in methods:
        return render_as_get(request, resource)
    raise refused_method(request.method, methods)


_KNOWN = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})


def refused_method(method: bytes, methods: Any) -> HTTPError:
    """RFC 9110, 15.5.6, and 15.6.2 for one that nobody has heard of."""
    if method not in _KNOWN:
        return HTTPError(501)
    return HTTPError(405, headers={"Allow": allowed(methods)})


def allowed(methods: Any) -> str:
    """The value of Allow (RFC 9110, 10.2.1)."""
    return ", ".join(sorted(method.decode("ascii") for method in methods))


def endings(tree: RouteTree, segments: list[bytes]) -> tuple[Entry | None, set[bytes]]:
    """For a path whose method nobody takes: the entry found first, and the methods of all."""
    first: Entry | None = None
    methods: set[bytes] = set()
    found: Iterator[dict[bytes, Entry]] = tree.endings(segments)
    for by_method in found:
        methods |= by_method.keys()
        first = first or next(iter(by_method.values()))
    return first, methods
