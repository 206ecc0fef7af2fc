"""Request classes of an application, made to work on our channel.

``Site.requestFactory`` may be a subclass of ``twisted.web.server.Request``: its own methods keep precedence,
and what it inherited from ``twisted.web`` comes from ``hardhttp.web.request.Request``. Our channel calls
``process`` when a message is whole. A class that overrides what ``twisted.web`` calls before that,
``requestReceived`` and ``handleContentChunk``, is told there as it expects: with the body written to ``content``,
which stands at its end.

A ``requestFactory`` that is no class (a function, a ``partial``) makes requests as it likes; each of them is
given its class here, which is made once.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from twisted.web import server

from hardhttp.web.request import Request

__all__ = ["adapt"]


class _Received:
    """Put before a request class: the first ``process`` is the channel's, and means ``requestReceived``."""

    _was_received = False

    def process(self: Any) -> None:
        if self._was_received:
            super().process()  # type: ignore[misc]
            return
        self._was_received = True
        self.receivedBytes = self.content.seek(0, os.SEEK_END)
        self.requestReceived(self.method, self.uri, self.clientproto)


class _Made:
    """A factory that is no class, for what makes requests that are not made for our channel."""

    def __init__(self, factory: Callable[..., Any]) -> None:
        self._factory = factory
        self._more = () if _takes_one(factory) else (0,)  # twisted.web's second one: how many requests wait
        self._classes: dict[type, type] = {}

    def __call__(self, channel: Any) -> Any:
        request = self._factory(channel, *self._more)
        made = type(request)
        known = self._classes.get(made)
        if known is None:
            if not isinstance(request, server.Request):
                raise TypeError(f"requestFactory made a {made.__name__}, not a twisted.web.server.Request")
            known = self._classes[made] = adapt(made)
        if known is not made:
            headers = request.__dict__.pop("responseHeaders", None)
            cookies = request.__dict__.pop("cookies", None)
            request.__class__ = known  # nobody else has seen it yet
            if headers is not None:
                request.responseHeaders, request.cookies = headers, cookies
        return request


def _takes_one(factory: Callable[..., Any]) -> bool:
    try:
        inspect.signature(factory).bind(None)
    except TypeError:
        return False
    except ValueError:  # one that does not tell
        return True
    return True


def adapt(factory: Any) -> Any:
    """What makes requests for ``factory``, a site's ``requestFactory``, when it is called with a channel."""
    if not isinstance(factory, type):
        return _Made(factory)
    bases: tuple[type, ...] = (factory,)
    members: dict[str, Any] = {"__doc__": factory.__doc__}
    if not issubclass(factory, Request):
        bases, members["_adapted"] = (factory, Request), True
    if any(_overrides(factory, name) for name in ("requestReceived", "handleContentChunk")):
        bases = (_Received, *bases)
    return type(factory.__name__, bases, members) if len(bases) > 1 else factory


def _overrides(factory: type, name: str) -> bool:
    """Whether ``name`` is a method of the application's own."""
    method = getattr(factory, name, None)
    return all(getattr(base, name, None) is not method for base in Request.__mro__)
