"""What tests of sessions share: a client with a cookie, and a store that answers when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from hardhttp.errors import StoreError
from hardhttp.interfaces import ISessionStore
from hardhttp.stores.memory import MemoryStore
from hardhttp.testing import Peer, Response, Rig
from tests.web.saying import say

__all__ = ["Client", "SlowStore", "cookie_of"]


def cookie_of(response: Response) -> bytes:
    """The pair of the Set-Cookie in a response, or nothing."""
    return (response.get(b"set-cookie") or b"").partition(b";")[0]


class Client:
    """A browser: it keeps one cookie, and every request is a connection of its own."""

    def __init__(self, rig: Rig, cookie: bytes = b"") -> None:
        self._rig = rig
        self.cookie = cookie

    def begin(self, target: bytes = b"/", method: bytes = b"GET", body: bytes | None = None, **headers: bytes) -> Peer:
        """Send a request, and do not wait for the answer."""
        if self.cookie:
            headers["Cookie"] = self.cookie
        peer = self._rig.connect()
        peer.send(say(method, target, body, **headers))
        return peer

    def ask(
        self, target: bytes = b"/", method: bytes = b"GET", body: bytes | None = None, **headers: bytes
    ) -> Response:
        (response,) = self.begin(target, method, body, **headers).responses(method)
        cookie = response.get(b"set-cookie")
        if cookie is not None:
            self.cookie = b"" if b"Max-Age=0" in cookie else cookie_of(response)
        return response


@implementer(ISessionStore)
class SlowStore:
    """A store in memory whose answers come with ``answer``; with ``away`` they are ``StoreError``."""

    answers_at_once = False

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.asked: list[str] = []
        self.away = False
        self._waiting: list[tuple[Deferred[Any], Callable[..., Deferred[Any]], tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.memory, name)

        def ask(*arguments: Any) -> Deferred[Any]:
            later: Deferred[Any] = Deferred()
            self.asked.append(name)
            self._waiting.append((later, call, arguments))
            return later

        return ask

    def answer(self) -> None:
        """Answer all that has been asked, and what that makes others ask."""
        while self._waiting:
            later, call, arguments = self._waiting.pop(0)
            if later.called:
                continue
            if self.away:
                later.errback(StoreError("away"))
            else:
                call(*arguments).chainDeferred(later)
