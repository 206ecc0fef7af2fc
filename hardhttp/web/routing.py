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

from collections.abc import Iterator, Mapping
from typing import Any

from twisted.web.resource import IResource
from zope.interface import implementer

from hardhttp.errors import HTTPError
from hardhttp.interfaces import IRoutesStreams, IStreamingResource
from hardhttp.web import pages
from hardhttp.web.answering import SKIP, Hooks, answer
from hardhttp.web.patterns import CONVERTERS, Converter, Pattern, RouteError, quote_segment
from hardhttp.web.response import Response
from hardhttp.web.routegroups import Group, delete, get, patch, post, put, route
from hardhttp.web.routes import Entry, Mount, Prefix, Route, Under, allowed, endings, refused_method
from hardhttp.web.routetree import RouteTree

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
        self._mount(self, Pattern("/" + path.decode("utf-8"), (path,)), child)

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

    def _mount(self, group: Group, pattern: Pattern, resource: Any, name: str | None = None) -> None:
        if isinstance(resource, Router):
            self._take(resource, Under(self, group, pattern, name))
        elif IResource.providedBy(resource):
            self._register(Mount(pattern, group.chain, None, ((self, 0),), resource))
        else:
            raise TypeError(f"only an IResource can be mounted, not a {type(resource).__name__}")

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
