"""``Sessions``: where a site's cookie sessions are kept, what their cookie is, and how long they live.

Ids are 256 random bits, which only the client has: a store knows their digest. An id that is not a
session's is never taken up, whoever sent it, and one that is not well formed is not even looked up. On
a connection that is secure the cookie is ``__Host-session``, which no other host, no page of plain HTTP
and no path can set or see; it is not read anywhere else.

A store is asked with a deadline, and what it cannot do costs the requests that need it, never the site.
One sweep for all forgets what has expired. It goes round with the reaper: there is no timer here, and
nothing runs while the site does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.errors import StoreError
from hardhttp.interfaces import ISessionStore, SessionRecord, SessionTimes
from hardhttp.net.budget import Keeper
from hardhttp.stores.memory import MemoryStore
from hardhttp.web.session import answered, digest
from hardhttp.web.twistedsession import SessionObjects
from hardhttp.wire.cookies import SameSite, delete_cookie, set_cookie

__all__ = ["Sessions"]

T = TypeVar("T")

_ID = re.compile(rb"([A-Za-z0-9_-]{43})[ \t]*[;\r]")
# How often a head may say the cookie's name before it is heard no more, and the blanks between two cookies.
MAX_MENTIONS = 16
MAX_BLANKS = 8

STORE_SECONDS = 5.0
# A store that is away fails with every request; the log hears of it this often.
LINE_SECONDS = 10.0


class Sent:
    """The id in a head's lines."""

    __slots__ = ("known", "sessions")

    def __init__(self, sessions: Sessions, known: tuple[str, bytes]) -> None:
        self.sessions = sessions
        self.known = known


class Sessions:
    """The cookie sessions of one site: ``Site(resource, sessions=Sessions(store))``.

    ``store`` is an ``ISessionStore``; without one they are kept in memory, from the first write on.
    ``domain``, ``path``, ``same_site`` and ``max_age`` (whole seconds; renewed as the session is used)
    are the cookie's; by default it lasts as long as the browser runs. ``store_seconds`` is how long a
    store may take for an answer. Raises ``ValueError`` for what makes no cookie.

    ``failures`` counts what the store failed to do.
    """

    _log = Logger(namespace="hardhttp")

    server: Any
    objects: SessionObjects

    def __init__(
        self,
        store: ISessionStore | None = None,
        *,
        cookie_name: str = "session",
        domain: str | None = None,
        path: str = "/",
        same_site: SameSite = "Lax",
        max_age: int | None = None,
        store_seconds: float = STORE_SECONDS,
    ) -> None:
        self._store: Any = store
        # The store, when it is that one: asked without Deferreds.
        self.memory: MemoryStore | None = store if type(store) is MemoryStore else None
        self.max_age = max_age
        self.store_seconds = store_seconds
        self.failures = 0
        host_only = path == "/" and domain is None
        self._attributes: dict[str, Any] = {"domain": domain, "path": path}
        self._same_site: SameSite = same_site
        # By whether the connection is secure.
        self._names = (cookie_name, f"__Host-{cookie_name}" if host_only else cookie_name)
        self._marks = tuple(f"{name}=".encode() for name in self._names)
        for secure in (False, True):
            self.cookie("", secure)
        self._sweep_at = 0.0
        self._sweeping: Deferred[int] | None = None
        self._line_at = 0.0
        self._unsaid = 0

    def __repr__(self) -> str:
        return f"<Sessions in {self._store!r}>"

    def serve(self, site: Any) -> None:
        """Be the sessions of ``site``, of which a ``Sessions`` has one."""
        if hasattr(self, "server"):
            raise ValueError("a Sessions is for one site; two sites may share a store")
        self.server = site.server
        self.objects = SessionObjects(site)
        self._sweep_at = site.server.now + site.limits.cleanup_seconds
        site.server.chores.append(self)
        site.ledger.gauge("sessions", lambda: len(self._store) if self._in_memory else 0)
        site.ledger.gauge("session_bytes", self._memory_bytes)
        site.server.budget.keepers.append(Keeper("sessions", self._memory_bytes, self._shed))
        site.ledger.gauge("session_objects", lambda: len(site.sessions))

    # -- the store ----------------------------------------------------------------------------

    @property
    def store(self) -> Any:
        """The ``ISessionStore``."""
        if self._store is None:
            self._store = self.memory = MemoryStore()
        return self._store

    @property
    def has_store(self) -> bool:
        """Whether there is one yet: not before the first write, when none was given."""
        return self._store is not None

    def _memory_bytes(self) -> int:
        return self._store.held_bytes if self._in_memory else 0

    def _shed(self, size: int) -> None:
        self._store.shed(size)

    @property
    def _in_memory(self) -> bool:
        return isinstance(self._store, MemoryStore)

    @property
    def loads_ahead(self) -> bool:
        """Whether a session must be loaded before its request is rendered: the store answers later."""
        return self._store is not None and not getattr(self._store, "answers_at_once", False)

    def ask(self, call: Callable[..., Deferred[T]], *arguments: Any) -> Deferred[T]:
        """Call the store; its answer, or ``StoreError`` when there is none in time."""
        try:
            answer = call(*arguments)
        except Exception:
            return fail()
        if not answered(answer):
            answer.addTimeout(self.store_seconds, self.server.clock, self._too_late)
        return answer

    def _too_late(self, result: Any, seconds: float) -> Any:
        if isinstance(result, Failure):
            result.cleanFailure()
        raise StoreError(f"the session store has not answered within {seconds:g} s")

    def load(self, key: bytes) -> Deferred[SessionRecord | None]:
        if self._store is None:
            return succeed(None)
        return self.ask(self._store.load, key, self.server.now)

    def delete(self, uid: bytes) -> None:
        """The session of this id has ended; nobody waits for that."""
        if self._store is not None:
            self.ask(self._store.delete, digest(uid.decode("ascii"))).addErrback(
                self.store_failed, "a session could not be deleted"
            )

    def close(self) -> Deferred[None]:
        """Let the store write what it has not, and let go of its files and connections; it may be used again."""
        return succeed(None) if self._store is None else self.ask(self._store.close)

    def store_failed(self, failure: Failure, what: str) -> None:
        """Count and log what the store failed to do, ten seconds' worth in a line."""
        self.failures += 1
        self._unsaid += 1
        now = self.server.now
        if now >= self._line_at:
            unsaid, self._unsaid = self._unsaid, 0
            self._line_at = now + LINE_SECONDS
            self._log.error("{what}: {error} ({n} failures)", what=what, error=failure.value, n=unsaid)
        failure.cleanFailure()

    # -- times --------------------------------------------------------------------------------

    def times(self, before: SessionTimes | None) -> SessionTimes:
        """Those of a session accessed now."""
        now, limits = self.server.now, self.server.limits
        created_at = now if before is None else before.created_at
        return SessionTimes(
            created_at, now, min(now + limits.session_idle_seconds, created_at + limits.session_seconds)
        )

    def reap(self, now: float) -> None:
        """Called each second: every ``cleanup_seconds`` forget what has expired."""
        self.objects.reap(now)
        if now < self._sweep_at:
            return
        self._sweep_at = now + self.server.limits.cleanup_seconds
        if self._sweeping is None and self._store is not None:
            self._sweeping = sweeping = self.ask(self._store.sweep, now)
            sweeping.addErrback(self.store_failed, "expired sessions could not be swept")
            sweeping.addBoth(self._swept)

    def _swept(self, _: Any) -> None:
        self._sweeping = None

    def sweep(self, now: float) -> Deferred[int]:
        """Forget all that has expired; how many those were, objects of ``getSession`` included.

        Fails with ``StoreError``.
        """
        ended = self.objects.sweep(now)
        if self._store is None:
            return succeed(ended)
        return self.ask(self._store.sweep, now).addCallback(lambda swept: swept + ended)

    def forget(self) -> None:
        """End every session that is in this process alone: the objects of ``getSession``, and a store in memory."""
        self.objects.sweep(math.inf)
        if isinstance(self._store, MemoryStore):
            self._store.sweep(math.inf)

    # -- the cookie ---------------------------------------------------------------------------

    def id_from(self, request: Any) -> tuple[str, bytes] | None:
        """The first well-formed id that the client sent, and what a store knows it by."""
        head = request.head
        if head is None:
            return None
        # Most clients send the same fields again and again, and all that say who speaks TLS are the
        # connection's or among them; but for setHost, which is one request's.
        memo = None if request._forceSSL else head.memo
        if type(memo) is Sent and memo.sessions is self:
            return memo.known
        if self._marks[0] not in head.lines:
            return None
        found = _id_in(head.lines, self._marks[bool(request.isSecure())])
        if found is None:
            return None
        session_id = found.decode("ascii")
        known = session_id, digest(session_id)
        if not request._forceSSL:
            head.memo = Sent(self, known)
        return known

    def cookie(self, session_id: str, secure: bool) -> bytes:
        """A Set-Cookie's value."""
        return set_cookie(
            self._names[secure],
            session_id.encode("ascii"),
            secure=secure,
            same_site="Lax" if self._same_site == "None" and not secure else self._same_site,
            max_age=self.max_age,
            **self._attributes,
        )

    def no_cookie(self, secure: bool) -> bytes:
        """A Set-Cookie's value that makes the client forget its cookie."""
        return delete_cookie(self._names[secure], secure=secure, **self._attributes)


def _id_in(lines: bytes, mark: bytes) -> bytes | None:
    """The first well-formed id after ``mark`` in the Cookie fields of a head's lines.

    What stands in another field is none, for a page of another site may set some; and neither is what
    stands in another cookie's value, for that may be made of anything (RFC 6265, 4.2.1).
    """
    at = -1
    for _ in range(MAX_MENTIONS):
        at = lines.find(mark, at + 1)
        if at < 0:
            break
        begin = lines.rfind(b"\n", 0, at) + 8
        if lines[begin - 7 : begin].lower() == b"cookie:":
            before = lines[max(begin, at - MAX_BLANKS) : at].rstrip(b" \t")
            if before.endswith(b";") or (not before and at - begin <= MAX_BLANKS):
                found = _ID.match(lines, at + len(mark))
                if found is not None:
                    return found[1]
    return None
