"""``Router``: handlers by method and path, as one resource that can be mounted anywhere.

    router = Router()

    @router.get("/users/{id:int}")
    def user(request, id):
        return {"id": id}

    site = Site(router)

A ``Router`` is a leaf: the root of a ``Site``, a child in any tree of resources, under ``twisted.web``'s own
server too, or mounted in another router. What it takes of a path is what the tree has left it. Any
``IResource`` can be mounted in it.

A ``Group`` is routes with a prefix, and hooks and error handlers that hold for them; a router is the group
of all its routes. Everything is worked out when it is said: a request costs one search in a tree,
which does not depend on the number of routes, and one call. What cannot be, two routes for one
request for example, is a ``RouteError`` at once, which names both.

What patterns may say is in ``patterns``, what is called around a handler in ``answering``, and what
becomes of its value in ``results``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from twisted.web.resource import IResource
from zope.interface import implementer

from hardhttp.errors import HTTPError
from hardhttp.interfaces import IRoutesStreams, IStreamingResource
from hardhttp.web import pages
from hardhttp.web.answering import SKIP, ErrorKey, Hook, Hooks, answer
from hardhttp.web.patterns import CONVERTERS, Converter, Pattern, RouteError, parse_pattern, quote_segment
from hardhttp.web.response import Response
from hardhttp.web.routes import Entry, Mount, Prefix, Route, Under, allowed, endings, refused_method
from hardhttp.web.routetree import RouteTree
from hardhttp.wire.grammar import TOKEN

__all__ = [
    "SKIP",
    "Converter",
    "Group",
    "Route",
    "RouteError",
    "Router",
    "delete",
    "get",
    "patch",
    "post",
    "put",
    "route",
]

F = TypeVar("F", bound=Callable[..., Any])

_VERBS = ("get", "post", "put", "patch", "delete", "head", "options")
_MARKS = "_hardhttp_routes"


class Group:
    """Routes below a prefix, with hooks of their own. Made by ``router.group``.

    ``chain`` is the groups it is in, from its router to itself.
    """

    def __init__(self, router: Router, outer: tuple[Group, ...], prefix: Pattern, name: str | None) -> None:
        self._router = router
        self._prefix = prefix
        self._name = name
        self.chain: tuple[Group, ...] = (*outer, self)
        self._before: list[Hook] = []
        self._after: list[Hook] = []
        self._errors: dict[ErrorKey, Hook] = {}

    # -- routes -------------------------------------------------------------------------------

    def route(
        self, pattern: str, methods: Iterable[str] = ("GET",), *, name: str | None = None, stream: bool = False
    ) -> Callable[[F], F]:
        """Have the decorated function called as ``handler(request, **parameters)``.

        ``name`` is for ``url_for``; without it the function's own is used. With ``stream`` the handler is
        called before the request's body has come, and takes it with ``request.deliverBody``.
        Raises ``RouteError`` for a pattern that is none or is taken, and for a handler that could not be called so.
        """

        def add(handler: F) -> F:
            self._add(pattern, methods, handler, name, stream)
            return handler

        return add

    def get(self, pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
        """As ``route`` for GET, and HEAD."""
        return self.route(pattern, ("GET",), name=name, stream=stream)

    def post(self, pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
        """As ``route`` for POST."""
        return self.route(pattern, ("POST",), name=name, stream=stream)

    def put(self, pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
        """As ``route`` for PUT."""
        return self.route(pattern, ("PUT",), name=name, stream=stream)

    def patch(self, pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
        """As ``route`` for PATCH."""
        return self.route(pattern, ("PATCH",), name=name, stream=stream)

    def delete(self, pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
        """As ``route`` for DELETE."""
        return self.route(pattern, ("DELETE",), name=name, stream=stream)

    def add(self, prefix: str, handlers: object, *, name: str | None = None) -> Group:
        """Add an object whole: each method that this module's decorators have marked, below ``prefix``,
        and those called ``get``, ``post`` and so on, at ``prefix`` itself. The group of them is returned.

        Raises ``RouteError`` where there is none.
        """
        group = self.group(prefix, name=name)
        kind = type(handlers)
        found = False
        for attribute in dict.fromkeys(name for base in reversed(kind.__mro__) for name in vars(base)):
            marked = getattr(getattr(kind, attribute, None), _MARKS, None)
            if marked is None and attribute in _VERBS:
                marked = [("", (attribute.upper(),), None, False)]
            for pattern, methods, given, stream in marked or ():
                handler = getattr(handlers, attribute)
                group._add(pattern, methods, handler, given, stream, f"{kind.__name__}.{attribute}")
                found = True
        if not found:
            raise RouteError(f"{kind.__name__} has no method that is a route")
        return group

    def group(self, prefix: str = "", *, name: str | None = None) -> Group:
        """A group below ``prefix`` in this one. With a ``name`` its routes' names begin with that and a dot."""
        pattern = self._prefix.joined(self._read(prefix, prefix=True))
        group = Group(self._router, self.chain, pattern, self._joined_name(name))
        if prefix not in ("", "/"):
            self._router._register(Prefix(pattern, group.chain, None, ((self._router, 0),)))
        return group

    def mount(self, prefix: str, resource: IResource, *, name: str | None = None) -> None:
        """Let ``resource`` answer all that is below ``prefix`` and is no route.

        The routes of a ``Router`` become routes of this one, with the hooks of both; ``name`` is as a group's.
        Any other resource sees ``prepath`` and ``postpath`` as it would in a tree.
        """
        pattern = self._prefix.joined(self._read(prefix, prefix=True))
        self._mount(pattern, resource, self._joined_name(name))

    def _mount(self, pattern: Pattern, resource: Any, name: str | None = None) -> None:
        if isinstance(resource, Router):
            self._router._take(resource, Under(self._router, self, pattern, name))
        elif IResource.providedBy(resource):
            self._router._register(Mount(pattern, self.chain, None, ((self._router, 0),), resource))
        else:
            raise TypeError(f"only an IResource can be mounted, not a {type(resource).__name__}")

    def _add(
        self,
        text: str,
        methods: Iterable[str],
        handler: Callable[..., Any],
        name: str | None,
        stream: bool,
        default: str | None = None,
    ) -> None:
        if isinstance(methods, str):
            raise TypeError(f"methods is {methods!r}; it must be a list of them")
        encoded = tuple(dict.fromkeys(method.upper().encode("utf-8") for method in methods))
        if not encoded or not all(TOKEN.fullmatch(method) for method in encoded):
            raise RouteError(f"the pattern {text!r} is for the methods {methods!r}, which are none")
        pattern = self._prefix.joined(self._read(text))
        of = name or default or getattr(handler, "__name__", type(handler).__name__)
        mounts = ((self._router, 0),)
        route = Route(
            pattern, self.chain, self._joined_name(of), mounts, handler, encoded, stream, named=name is not None
        )
        self._router._register(route)

    def _read(self, text: str, *, prefix: bool = False) -> Pattern:
        return parse_pattern(text, self._router.converters, prefix=prefix)

    def _joined_name(self, name: str | None) -> str | None:
        return f"{self._name}.{name}" if self._name and name else name or self._name

    # -- hooks --------------------------------------------------------------------------------

    def before(self, hook: F) -> F:
        """Have ``hook(request)`` called before each handler.

        What it returns is the answer; for ``None`` all goes on, and for ``SKIP`` with the handler at once.
        It holds for routes that are there already too.
        """
        self._before.append(hook)
        self._router._rehook()
        return hook

    def after(self, hook: F) -> F:
        """Have ``hook(request, response)`` called after each handler, and for errors.

        It may change the ``Response``, or return another.
        """
        self._after.append(hook)
        self._router._rehook()
        return hook

    def error(self, what: int | type[Exception]) -> Callable[[F], F]:
        """Have the decorated function called as ``handler(request, error)`` for a status, or a class of exceptions.

        What it returns is the answer, with the error's status (500 when it has none) unless it says
        another. What a handler for 500 gets is logged and counted as it would be without.
        """
        if isinstance(what, int) and not 400 <= what <= 599:
            raise ValueError(f"an error's status is from 400 to 599, not {what}")
        if not isinstance(what, int) and not (isinstance(what, type) and issubclass(what, Exception)):
            raise TypeError(f"an error handler is for a status or a class of exceptions, not {what!r}")

        def add(handler: F) -> F:
            there = self._errors.get(what)
            if there is not None:
                raise RouteError(f"{what} is handled by {there!r} already")
            self._errors[what] = handler
            self._router._rehook()
            return handler

        return add


@implementer(IRoutesStreams)
class Router(Group):
    """A resource made of routes.

    ``converters`` are kinds of parameters by name, beside ``int``, ``uuid``, ``str`` and ``path``. With
    ``redirect_slashes`` a GET or HEAD that would be found with a slash more or less at its end is sent
    there (308); without, it is not found, as a path with a slash is another path.
    """

    isLeaf = True

    def __init__(self, *, converters: Mapping[str, Converter] | None = None, redirect_slashes: bool = False) -> None:
        self.converters = {**CONVERTERS, **(converters or {})}
        self.redirect_slashes = redirect_slashes
        self._tree = RouteTree()
        self._entries: list[Entry] = []
        self._names: dict[str, list[Route]] = {}
        self._places: list[Under] = []  # where this is mounted
        self._hooks: dict[tuple[Group, ...], Hooks] = {}
        self._early = _Early(self)
        super().__init__(self, (), Pattern("", ()), None)

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes, of mounted routers too, in the order they were added."""
        return tuple(entry for entry in self._entries if isinstance(entry, Route))

    # -- IResource ----------------------------------------------------------------------------

    def render(self, request: Any) -> Any:
        found = self._tree.find(request.method, request.postpath)
        if found is None:
            return self._unrouted(request)
        entry, values = found
        return entry.render(request, values)

    def getChildWithDefault(self, path: bytes, request: Any) -> Router:
        """This one, for whoever walks past a leaf."""
        request.postpath.insert(0, request.prepath.pop())
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        """Mount ``child`` below one segment."""
        self._mount(Pattern("/" + path.decode("utf-8"), (path,)), child)

    def streaming_resource(self, request: Any) -> IStreamingResource | None:
        found = self._tree.find(request.method, request.postpath)
        early: IStreamingResource | None = None if found is None else found[0].streaming(request, self._early)
        return early

    def _unrouted(self, request: Any) -> Any:
        """No route takes this path and method."""
        method, segments = request.method, request.postpath
        entry, methods = endings(self._tree, segments)
        if entry is None:
            if self.redirect_slashes and (to := self._with_slash(request)) is not None:
                return answer(request, _NO_HOOKS, lambda: to)
            hooks = getattr(self._tree.owner(segments), "hooks", None) or self._hooks_of(self.chain)
            error = HTTPError(404)
        else:
            hooks = entry.hooks
            methods.add(b"OPTIONS")
            if method == b"OPTIONS":
                response = Response(204, {"Allow": allowed(methods)})
                return answer(request, hooks, lambda: response, before=False)
            error = refused_method(method, methods)
        if not hooks.errors and not hooks.after:
            return pages.error_page(request, error.status, headers=error.headers)
        return answer(request, hooks, lambda: _raise(error.status, error.headers), before=False)

    def _with_slash(self, request: Any) -> Response | None:
        segments, uri = request.postpath, request.uri
        other = segments[:-1] if segments and not segments[-1] else [*segments, b""]
        found = request.method in (b"GET", b"HEAD") and self._tree.find(request.method, other)
        if not found:
            return None
        path, question, query = uri.partition(b"?")
        path = path[:-1] if path.endswith(b"/") else path + b"/"
        # What begins with two slashes, or a slash and what browsers take for one, would lead to another host.
        if not path.startswith(b"/") or path[1:2] in (b"/", b"\\"):
            return None
        return Response(308, {"Location": (path + question + query).decode("latin-1")})

    # -- addresses ----------------------------------------------------------------------------

    def url_for(self, name: str, /, *, request: Any = None, **params: Any) -> str:
        """The path of the route called ``name``, percent-encoded.

        With ``request`` it begins with what this router is mounted below, as that request found it. Raises
        ``LookupError`` for a name that is none, or is that of two routes; ``ValueError`` naming the
        parameter that is missing, that there is no place for, or whose value would not be found again.
        """
        path = self._named(name).pattern.format(params)
        if request is not None:
            path = "".join(f"/{quote_segment(segment)}" for segment in self._prefix_in(request)) + path
            if path.startswith("//"):
                raise ValueError(f"the path of {name} would begin with two slashes")
        return path or "/"

    def _named(self, name: str) -> Route:
        routes = self._names.get(name)
        if not routes:
            raise LookupError(f"there is no route named {name!r}")
        named = [route for route in routes if route.named]
        if not named and len({route.pattern.text for route in routes}) > 1:
            raise LookupError(
                f"{name!r} is the name of {routes[0].describe()} and of {routes[1].describe()}; give one a name"
            )
        return (named or routes)[0]

    def _prefix_in(self, request: Any) -> list[bytes]:
        """The segments of the request's path that this router is mounted below."""
        prepath: list[bytes] = request.prepath
        entry = getattr(request, "route", None)
        if entry is None:
            return prepath  # nothing was found, and nothing has moved
        base = request.route_base if isinstance(entry, Mount) else len(prepath) - entry.mounts[-1][1]
        for router, depth in entry.mounts:
            if router is self:
                return prepath[: base + depth]
        raise ValueError("the request did not come through this router")

    # -- what groups tell ---------------------------------------------------------------------

    def _register(self, entry: Entry) -> None:
        """Enter ``entry`` here and wherever this is mounted; nowhere when one of them cannot have it."""
        self._enter_all([*self._seen_from(entry)])

    def _seen_from(self, entry: Entry) -> Iterator[tuple[Router, Entry]]:
        yield self, entry
        for place in self._places:
            yield from place.router._seen_from(entry.under(place))

    def _take(self, inner: Router, place: Under) -> None:
        outermost = [self]
        for router in outermost:
            outermost.extend(place.router for place in router._places)
        if inner in outermost:
            raise RouteError(f"the router at {place.prefix.text!r} would be mounted in itself")
        entries = [seen for entry in inner._entries for seen in self._seen_from(entry.under(place))]
        if place.prefix.segments:
            own = Prefix(place.prefix, (*place.group.chain, *inner.chain), None, ((self, 0),))
            entries += self._seen_from(own)
        self._enter_all(entries)
        inner._places.append(place)

    @staticmethod
    def _enter_all(seen: list[tuple[Router, Entry]]) -> None:
        for router, entry in seen:
            entry.check(router._tree)
            if isinstance(entry, Route):
                router._check_name(entry)
        for router, entry in seen:
            entry.enter(router._tree)
            entry.hooks = router._hooks_of(entry.groups)
            router._entries.append(entry)
            if isinstance(entry, Route) and entry.name is not None:
                router._names.setdefault(entry.name, []).append(entry)

    def _check_name(self, route: Route) -> None:
        for other in self._names.get(route.name or "", ()) if route.named else ():
            if other.named:
                raise RouteError(f"{route.describe()} has the name {route.name!r}, which {other.describe()} has")

    def _hooks_of(self, groups: tuple[Group, ...]) -> Hooks:
        hooks = self._hooks.get(groups)
        if hooks is None:
            hooks = self._hooks[groups] = Hooks()
            _fill(hooks, groups)
        return hooks

    def _rehook(self) -> None:
        """A group has new hooks; here, and wherever this is mounted."""
        for groups, hooks in self._hooks.items():
            _fill(hooks, groups)
        for place in self._places:
            place.router._rehook()


_NO_HOOKS = Hooks()


def _fill(hooks: Hooks, groups: tuple[Group, ...]) -> None:
    hooks.set(
        tuple(hook for group in groups for hook in group._before),
        tuple(hook for group in reversed(groups) for hook in reversed(group._after)),
        tuple(group._errors for group in reversed(groups) if group._errors),
    )


def _raise(status: int, headers: Mapping[str, str]) -> Any:
    # Made where it is raised: an exception kept elsewhere would hold this frame by its traceback.
    raise HTTPError(status, headers=headers)


@implementer(IStreamingResource)
class _Early:
    """A router, for requests whose handler takes the body as it comes."""

    isLeaf = True

    def __init__(self, router: Router) -> None:
        self._router = router

    def render(self, request: Any) -> Any:
        return self._router.render(request)

    def getChildWithDefault(self, path: bytes, request: Any) -> Any:
        return self._router.getChildWithDefault(path, request)

    def putChild(self, path: bytes, child: IResource) -> None:
        self._router.putChild(path, child)

    @property
    def handling_seconds(self) -> float | None:
        seconds: float | None = getattr(self._router, "handling_seconds", None)
        return seconds


# -- for the methods of an object that is added whole ----------------------------------------


def route(
    pattern: str, methods: Iterable[str] = ("GET",), *, name: str | None = None, stream: bool = False
) -> Callable[[F], F]:
    """Mark a method as a route, below the prefix its object is added at; see ``Group.add``."""

    def mark(method: F) -> F:
        marks = [*getattr(method, _MARKS, ()), (pattern, tuple(methods), name, stream)]
        setattr(method, _MARKS, marks)
        return method

    return mark


def get(pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
    """As ``route`` for GET, and HEAD."""
    return route(pattern, ("GET",), name=name, stream=stream)


def post(pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
    """As ``route`` for POST."""
    return route(pattern, ("POST",), name=name, stream=stream)


def put(pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
    """As ``route`` for PUT."""
    return route(pattern, ("PUT",), name=name, stream=stream)


def patch(pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
    """As ``route`` for PATCH."""
    return route(pattern, ("PATCH",), name=name, stream=stream)


def delete(pattern: str, *, name: str | None = None, stream: bool = False) -> Callable[[F], F]:
    """As ``route`` for DELETE."""
    return route(pattern, ("DELETE",), name=name, stream=stream)
