"""The objects ``request.getSession()`` gives: ``twisted.web``'s sessions, bounded and without timers.

They are ``twisted.web.server.Session`` (or what ``site.sessionFactory`` makes), with components,
attributes and callbacks as applications know them, kept in ``site.sessions`` by their ``uid``, which is
the id in the same cookie as ``request.session``'s. They live in this process, and no store sees them.

What differs from ``twisted.web``, because 20,000 looks without a cookie were 20,000 sessions and timers:

- an object is none of the site's sessions, and has no cookie, until it is used: a component or an
  attribute set, an adapter made, ``uid`` read, ``notifyOnExpire`` called;
- past ``Limits.max_sessions`` the one touched longest ago expires;
- one sweep for all ends what has expired: ``sessionTimeout`` after the last touch, which is
  ``Limits.session_idle_seconds`` unless the application says otherwise, and ``session_seconds`` at most.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.web import server

if TYPE_CHECKING:
    from hardhttp.web.session import Session

__all__ = ["SessionObjects"]

ID_BYTES = 32
# How many are judged in one second; at this rate the largest table by default takes half a minute.
JUDGED_PER_SECOND = 4096
# What an object sets on itself when it is merely looked at.
_BOOKKEEPING = frozenset({"lastModified", "_pending"})
# Where an object among the site's sessions has the time it came there.
_BEGAN_AT = "_began_at"


class Lazy:
    """Put before a session class: tells the session that made the object when it is first used."""

    _pending: Session | None = None
    site: Any

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if self._pending is not None and name not in _BOOKKEEPING:
            self._used()

    def _used(self) -> None:
        pending = self._pending
        if pending is not None:
            self._pending = None
            pending.object_used(self)

    @property
    def uid(self) -> bytes:
        self._used()
        uid: bytes = self.__dict__["_uid"]
        return uid

    @uid.setter
    def uid(self, uid: bytes) -> None:
        self.__dict__["_uid"] = uid

    @property
    def sessionNamespaces(self) -> dict[Any, Any]:
        self._used()
        namespaces: dict[Any, Any] = self.__dict__["_namespaces"]
        return namespaces

    @sessionNamespaces.setter
    def sessionNamespaces(self, namespaces: dict[Any, Any]) -> None:
        self.__dict__["_namespaces"] = namespaces

    def getComponent(self, interface: Any, default: Any = None) -> Any:
        component = super().getComponent(interface, default)  # type: ignore[misc]
        if self._pending is not None and self._adapterCache:  # type: ignore[attr-defined]
            self._used()
        return component

    def setComponent(self, interface: Any, component: Any) -> None:
        self._used()
        super().setComponent(interface, component)  # type: ignore[misc]

    def addComponent(self, component: Any, ignoreClass: int = 0) -> Any:
        self._used()
        return super().addComponent(component, ignoreClass)  # type: ignore[misc]

    def notifyOnExpire(self, callback: Any) -> None:
        self._used()
        super().notifyOnExpire(callback)  # type: ignore[misc]

    def startCheckingExpiration(self) -> None:
        """The sweep does: there is no timer."""

    def touch(self) -> None:
        super().touch()  # type: ignore[misc]
        sessions, uid = self.site.sessions, self.__dict__["_uid"]
        if uid in sessions and isinstance(sessions, OrderedDict):
            sessions.move_to_end(uid)

    def expire(self) -> None:
        """The client's session ends, and with it what ``request.session`` holds."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.abandon()
            return
        super().expire()  # type: ignore[misc]
        self.site.cookie_sessions.objects.expired(self.__dict__["_uid"])


def _uid(known: Any) -> bytes:
    """The id of an object, without using it."""
    uid: bytes = known.__dict__["_uid"] if isinstance(known, Lazy) else known.uid
    return uid


class SessionObjects:
    """``site.sessions``, and what keeps it within bounds.

    ``evicted`` is how many were given up to stay within ``max_sessions``.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, site: Any) -> None:
        self._site = site
        self._classes: tuple[Any, Any] = (None, None)  # the application's, and ours of it
        self._rest: list[bytes] = []  # of the sweep that is going on
        self._sweep_at = 0.0
        self._sweeping = False
        self.evicted = 0

    def has(self, session_id: str | None) -> bool:
        sessions = self._site.sessions
        return bool(sessions) and session_id is not None and session_id.encode("ascii") in sessions

    def find(self, session_id: str | None) -> Any:
        """The object of a client's id; one whose time is over ends here, not at the next sweep."""
        sessions = self._site.sessions
        uid = session_id.encode("ascii") if sessions and session_id is not None else None
        known = None if uid is None else sessions.get(uid)
        if uid is None or known is None or self._judge([uid], self._site.server.seconds()):
            return None
        known.__dict__.setdefault(_BEGAN_AT, known.lastModified)
        return known

    # -- making -------------------------------------------------------------------------------

    def make_pending(self, session: Session, session_id: str | None) -> Any:
        """A new object, which is registered when it is used."""
        made = self._make((session_id or secrets.token_urlsafe(ID_BYTES)).encode("ascii"))
        if isinstance(made, Lazy):
            made._pending = session
        return made

    def make(self) -> Any:
        """A new object, registered: ``Site.makeSession``."""
        uid = secrets.token_urlsafe(ID_BYTES)
        made = self._make(uid.encode("ascii"))
        self.add(uid, made)
        return made

    def _make(self, uid: bytes) -> Any:
        site = self._site
        given, ours = self._classes
        if given is not site.sessionFactory:
            given = ours = site.sessionFactory
            if isinstance(given, type) and not issubclass(given, Lazy):
                ours = type(given.__name__, (Lazy, given), {"__doc__": given.__doc__})
            self._classes = given, ours
        made = ours(site, uid)
        if given is server.Session:
            made.sessionTimeout = site.limits.session_idle_seconds
        return made

    def add(self, session_id: str, added: Any) -> None:
        """It is one of the site's sessions from now on."""
        sessions = self._site.sessions
        while len(sessions) >= self._site.limits.max_sessions:
            self._end(next(iter(sessions)))
            self.evicted += 1
        uid = session_id.encode("ascii")
        added.uid = uid
        added.__dict__[_BEGAN_AT] = added.lastModified
        sessions[uid] = added

    # -- those not used yet -------------------------------------------------------------------

    def is_pending(self, known: Any) -> bool:
        return isinstance(known, Lazy) and known._pending is not None

    def let_go(self, known: Any) -> None:
        """Nobody will hear of it: what is done with it is its own."""
        if isinstance(known, Lazy):
            known._pending = None

    def uid_of(self, known: Any) -> str | None:
        """The id an object was made with, for the session it begins."""
        return None if known is None else _uid(known).decode("ascii")

    # -- ending -------------------------------------------------------------------------------

    def ended(self, known: Any) -> bool:
        """Whether an object that was one of the site's sessions is no more."""
        return _BEGAN_AT in known.__dict__ and self._site.sessions.get(_uid(known)) is not known

    def rename(self, old_id: str, new_id: str) -> None:
        known = self._site.sessions.pop(old_id.encode("ascii"), None)
        if known is not None:
            known.uid = new_id.encode("ascii")
            self._site.sessions[known.uid] = known

    def end(self, session_id: str) -> None:
        """The client's session has ended."""
        uid = session_id.encode("ascii")
        if uid in self._site.sessions:
            self._end(uid)

    def expired(self, uid: bytes) -> None:
        """An object's ``expire`` has been called; unless the call was ours, the store's part ends too."""
        if not self._sweeping:
            self._site.cookie_sessions.delete(uid)

    def _end(self, uid: bytes) -> None:
        """Expire one; a callback that fails costs the others of this one, and nothing else."""
        before, self._sweeping = self._sweeping, True
        try:
            self._site.sessions[uid].expire()
        except Exception:
            self._log.failure("a session's end failed")
        finally:
            self._sweeping = before
            self._site.sessions.pop(uid, None)

    def reap(self, now: float) -> None:
        """Called each second: judge a part of the objects, so that all are judged every ``cleanup_seconds``."""
        if not self._rest:
            if now < self._sweep_at or not self._site.sessions:
                return
            self._sweep_at = now + self._site.limits.cleanup_seconds
            self._rest = list(self._site.sessions)
        judged = self._rest[-JUDGED_PER_SECOND:]
        del self._rest[-JUDGED_PER_SECOND:]
        self._judge(judged, now)

    def sweep(self, now: float) -> int:
        """Judge all of them; how many that ended."""
        return self._judge(list(self._site.sessions), now)

    def _judge(self, uids: Iterable[bytes], now: float) -> int:
        ended, longest_seconds = 0, self._site.limits.session_seconds
        for uid in uids:
            known = self._site.sessions.get(uid)
            if known is None or known.__dict__.get("_expireCall") is not None:
                continue  # one that has a timer of its own is not ours
            began_at = known.__dict__.get(_BEGAN_AT, known.lastModified)
            if now >= min(known.lastModified + known.sessionTimeout, began_at + longest_seconds):
                self._end(uid)
                ended += 1
        return ended
