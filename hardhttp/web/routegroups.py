"""Groups of routes: a prefix, and hooks and error handlers that hold for what is below it.

A ``Group`` turns what an application says into entries and gives them to its router, which owns them; of
its own it has only its hooks. A router is the group of all its routes.

The decorators at the end mark methods of a class, whose instances ``Group.add`` adds whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.web.resource import IResource

from hardhttp.web.answering import ErrorKey, Hook
from hardhttp.web.patterns import Pattern, RouteError, parse_pattern
from hardhttp.web.routes import Prefix, Route
from hardhttp.wire.grammar import TOKEN

if TYPE_CHECKING:
    from hardhttp.web.routing import Router

__all__ = ["Group", "delete", "get", "patch", "post", "put", "route"]

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
        if callable(pattern):  # else the function would be no route, and its name this one's
            raise RouteError(f"{pattern!r} stands where a pattern belongs, as in @router.get('/items')")

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
        self._router._mount(self, pattern, resource, self._joined_name(name))

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
