"""One client's session, as one request sees it.

Looking makes nothing: no id, no cookie, no entry in the store, until something is written. Then an id is
made; when the response's head is due its cookie is set, and what has changed is saved: only the keys that
were written, so two requests at once do not lose each other's, and only into a session that is still
there, so what one has abandoned another does not bring back.

A ``Session`` belongs to its request, which lets go of it at its end. What is in it is ``SessionValues``;
where sessions are kept, what their cookie looks like and how long they live is
``hardhttp.web.sessions.Sessions``; when one is loaded and saved is ``hardhttp.web.remembering``.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from hardhttp.errors import HTTPError
from hardhttp.interfaces import SessionRecord, SessionTimes
from hardhttp.web.beforehead import default_fields, vary_on
from hardhttp.web.saves import Saves
from hardhttp.web.sessionvalues import SessionValues

if TYPE_CHECKING:
    from hardhttp.limits import Limits
    from hardhttp.web.sessions import Sessions

__all__ = ["ID_BYTES", "RETRY_SECONDS", "Session", "answered"]

# 256 bits: 43 letters.
ID_BYTES = 32
# An access is noted when the one noted last is older than this part of the idle time.
TOUCHES_PER_IDLE = 20
RETRY_SECONDS = 5

_VARY = (b"Cookie",)
_PRIVATE = {b"Cache-Control": b"private"}


def digest(session_id: str) -> bytes:
    """What a store knows a session by."""
    return sha256(session_id.encode("ascii")).digest()


def answered(later: Deferred[Any]) -> bool:
    """Whether ``later.result`` is there already."""
    return bool(later.called and not later.paused)


class Session(SessionValues):
    """The session of a request's client: a mapping of text to JSON values.

    A value is what JSON makes of it: a tuple is a list for the next request. Whatever looks at a session
    whose store is away raises ``HTTPError`` 503. A write raises ``TypeError`` for what is not JSON,
    ``SessionTooLargeError`` past ``Limits.max_session_bytes``, and ``RuntimeError`` when it would
    begin a session after the response's head, where the cookie belongs, or when the response has ended.
    """

    _away = False  # the store could not say what is in it
    _id: str | None = None
    _id_sent = False  # whether the client sent one
    _key = b""
    _times: SessionTimes | None = None
    _stored = False  # whether the store has it
    _keep = False  # whether it is to be stored even when it is empty
    _touch_due = False
    _cookie_due = False  # whether the client must be told of its id, or of its end
    _dead: tuple[str, ...] = ()  # ids abandoned
    _renamed: str | None = None  # the id before rotate
    _object: Any = None  # what getSession has given
    _saves: Saves | None = None
    _ended = False

    def __init__(self, sessions: Sessions, request: Any) -> None:
        super().__init__()
        self._sessions = sessions
        self._request = request

    def __repr__(self) -> str:
        state = f" of {len(self._texts)} keys" if self._known else ", store away" if self._away else ", unread"
        return f"<Session{state}>"

    # -- what it is ---------------------------------------------------------------------------

    @property
    def has_id(self) -> bool:
        """Whether the client has a session: it sent the id of one, or something has been written."""
        self._look()
        return self._id is not None

    @property
    def created_at(self) -> float | None:
        """Seconds since the epoch; ``None`` while nothing of it has been saved."""
        self._look()
        return None if self._times is None else self._times.created_at

    @property
    def last_accessed_at(self) -> float | None:
        """The access noted last; one within a twentieth of the idle time after it is not noted."""
        self._look()
        return None if self._times is None else self._times.last_accessed_at

    # -- what can be done with it -------------------------------------------------------------

    def touch(self) -> None:
        """Note this access, however soon it is after the last. Makes no session."""
        self._look()
        self._touch_due = True

    def keep(self) -> None:
        """Have a session, though nothing may be in it."""
        self._look()
        self._may_write()
        self._keep = not self._stored

    def rotate(self) -> None:
        """Go on with the same values under a new id; the old one is dead.

        To be called whenever what the client may do changes, first of all at login: an id that somebody
        had slipped to the client (session fixation), or overheard, is then worth nothing. What another
        request of the old id saves later is lost. Raises ``RuntimeError`` after the response's head.
        """
        self._look()
        if self._id is None or (self._cookie_due and not self._stored):
            return  # there is none, or it is new
        self._head_is_due("a new id")
        if self._renamed is None:
            self._renamed = self._id
        self._take_id(secrets.token_urlsafe(ID_BYTES))
        self._cookie_due = True

    def abandon(self) -> None:
        """End the session: values, id and cookie. What is written after that begins a new one."""
        self._look()
        if self._id is not None:
            self._dead = (*self._dead, self._renamed or self._id)
            self._cookie_due = True
        self._forget()

    def save(self) -> Deferred[None]:
        """Save what has changed now, and not only when the response is sent.

        Fires when the store has it; fails with ``StoreError`` or ``SessionTooLargeError``.
        """
        try:
            self.hand_over()
        except Exception:
            return fail()
        return self.saved() or succeed(None)

    @property
    def secret(self) -> bytes:
        """A secret that lives as long as the session's id, which it makes: for what must end with it."""
        self.keep()
        return b"" if self._id is None else self._id.encode("ascii")

    # -- loading ------------------------------------------------------------------------------

    def begin_load(self) -> Deferred[SessionRecord | None] | None:
        """Ask the store; ``None`` when all is known: the client has sent no id, or the store is in memory."""
        sessions = self._sessions
        sent = sessions.id_from(self._request)
        if sent is None:
            self._known = True
            return None
        self._id_sent = True
        self._id, self._key = sent
        if sessions.memory is not None:
            self._found(sessions.memory.load_now(self._key, sessions.server.now))
            return None
        return sessions.load(self._key)

    def loaded(self, record: SessionRecord | Failure | None) -> None:
        """The store's answer."""
        sessions = self._sessions
        if isinstance(record, Failure):
            self._away = True
            sessions.store_failed(record, "a session could not be loaded")
        elif record is None:
            self._found(None)
        else:
            self._found((record.values, record.times, -1))

    def _found(self, record: tuple[dict[str, str], SessionTimes, int] | None) -> None:
        sessions = self._sessions
        self._known = True
        if record is not None:
            self._stored = True
            self._texts, times, self._size = record
            self._times = times
            unnoted_seconds = sessions.server.now - times.last_accessed_at
            if unnoted_seconds >= sessions.server.limits.session_idle_seconds / TOUCHES_PER_IDLE:
                self._touch_due = True
                self._cookie_due = sessions.max_age is not None
        elif self._id is not None and sessions.objects.find(self._id) is None:
            self._id = None  # an id that is not ours is never taken up

    def _look(self) -> None:
        if self._known:
            return
        if not self._away:
            self._load_now()
        if self._away:
            raise HTTPError(503, "Sessions cannot be read now.", {"Retry-After": str(RETRY_SECONDS)})

    def _load_now(self) -> None:
        if self._request is None:
            raise RuntimeError("the request has ended; its session was never read")
        answer = self.begin_load()
        if answer is None:
            return
        if not answered(answer):
            answer.addErrback(lambda _: None)
            raise RuntimeError("the session's store has not answered: the site loads sessions in Request.process")
        record: Any = answer.result
        if isinstance(record, Failure):
            answer.addErrback(lambda _: None)
        self.loaded(record)

    def _take_id(self, session_id: str) -> None:
        self._id = session_id
        self._key = digest(session_id)

    # -- writing ------------------------------------------------------------------------------

    @property
    def _max_bytes(self) -> int:
        return self._sessions.server.limits.max_session_bytes

    def _head_is_due(self, what: str) -> None:
        if self._ended or (self._request is not None and self._request.startedWriting):
            raise RuntimeError(f"{what} needs a cookie, and the response's head has been sent")

    def _may_write(self) -> None:
        """Have an id; one is made when there is none."""
        if self._object is not None and self._sessions.objects.ended(self._object):
            self._forget()
        if self._ended:
            raise RuntimeError("the response has ended: what is written to its session now would be lost")
        if self._id is None and self._request is not None:  # else its client has gone, and nobody would know it
            self._head_is_due("a new session")
            self._take_id(self._sessions.objects.uid_of(self._object) or secrets.token_urlsafe(ID_BYTES))
            self._cookie_due = True

    def _forget(self) -> None:
        """There is none any more."""
        self._empty()
        self._sessions.objects.let_go(self._object)
        self._id = self._times = self._renamed = self._object = None
        self._stored = self._keep = self._touch_due = False

    # -- saving -------------------------------------------------------------------------------

    def hand_over(self) -> None:
        """Hand the store what has changed, as ``saved`` tells.

        Raises ``TypeError`` and ``SessionTooLargeError`` for what a value handed out has become.
        """
        if self._known:
            if self._object is not None and self._sessions.objects.ended(self._object):
                self._forget()  # what was written before that has ended with it
            if self._values:
                self._note_changes()
            if self._dead or self._renamed is not None:
                self._wait_for(Deferred.fromCoroutine(self._save_in_turn()))
            elif self._changed or self._keep:
                if self._sessions.memory is None:
                    self._wait_for(self._ask_save())
                else:
                    self._save_now()
            elif self._touch_due and self._stored:
                self._ask_touch()

    def saved(self) -> Deferred[None] | None:
        """``None`` when all that was handed over is saved, else a Deferred of that, or of a failure."""
        return None if self._saves is None else self._saves.outcome()

    def _ask_save(self) -> Deferred[bool]:
        save = self._take_changes()
        return succeed(False) if save is None else self._sessions.ask(self._sessions.store.save, *save)

    def _save_now(self) -> None:
        """The same with a store that is asked without Deferreds."""
        stored, save, memory = self._stored, self._take_changes(), self._sessions.memory
        try:
            if save is None or memory is None or not memory.save_now(*save):
                self._forget()
        except Exception:
            self._stored = stored
            raise

    def _take_changes(self) -> tuple[bytes, dict[str, str | None], SessionTimes, Limits, bool] | None:
        """What a store is to be told; ``None`` when there is no session to save it in.

        The changes count as saved from now on.
        """
        sessions, create = self._sessions, not self._stored
        texts = self._texts
        changes, self._changed = self._changed, {}
        for key in changes:
            changes[key] = texts.get(key)
        times, renewed = self._times, self._touch_due
        self._keep = self._touch_due = False
        to_be_told = self._cookie_due and self._request is not None
        if self._id is None or (create and not to_be_told and not sessions.objects.has(self._id)):
            return None  # its client has gone and would never know it, or it has ended meanwhile
        if times is None or renewed:
            times = self._times = sessions.times(times)
        self._stored = True
        return self._key, changes, times, sessions.server.limits, create

    def _ask_touch(self) -> None:
        self._touch_due = False
        self._times = self._sessions.times(self._times)
        self._sessions.ask(self._sessions.store.touch, self._key, self._times).addErrback(
            self._sessions.store_failed, "an access to a session could not be noted"
        )

    async def _save_in_turn(self) -> bool:
        """What is abandoned, then what is renamed, then what has changed."""
        sessions, objects = self._sessions, self._sessions.objects
        dead, renamed, stored = self._dead, self._renamed, self._stored
        self._dead, self._renamed = (), None
        for session_id in dead:
            objects.end(session_id)
            if sessions.has_store:
                await sessions.ask(sessions.store.delete, digest(session_id))
        if renamed is not None and self._id is not None:
            objects.rename(renamed, self._id)
            if stored and not await sessions.ask(sessions.store.rename, digest(renamed), self._key):
                return False
        return await self._ask_save() if self._changed or self._keep else True

    def _wait_for(self, answer: Deferred[bool]) -> None:
        if answered(answer) and answer.result is True:
            return
        if self._saves is None:
            self._saves = Saves()
        self._saves.wait_for(answer, self._hear)

    def _hear(self, answer: bool | Failure) -> None:
        """The store's answer to a save."""
        if isinstance(answer, Failure):
            self._stored = self._stored and not self._cookie_due
        elif not answer:
            self._forget()  # it was abandoned meanwhile, or it has expired

    def drop_changes(self) -> None:
        """The request has failed: nothing of what it began is kept."""
        self._changed.clear()
        self._values = {}
        if self._renamed is not None:
            self._take_id(self._renamed)
            self._cookie_due = False
        self._dead = ()
        self._renamed = self._saves = None
        self._keep = False
        if self._id is None or not (self._stored or self._sessions.objects.has(self._id)):
            self._cookie_due = False

    # -- the request's side -------------------------------------------------------------------

    def put_head(self, request: Any) -> None:
        """Set what the response's head must say. Whoever looked at a session made an answer of its cookie."""
        plain = request._plain if request._headers is None else None
        if plain is None or b"Vary" in plain:
            vary_on(request, _VARY)
        else:
            plain[b"Vary"] = b"Cookie"  # RFC 9110, 12.5.5
        if self._cookie_due:
            self._cookie_due = False
            if self._id is not None:
                cookie = self._sessions.cookie(self._id, request.isSecure())
            elif self._id_sent:
                cookie = self._sessions.no_cookie(request.isSecure())
            else:
                return
            request.cookies.append(cookie)
            default_fields(request, _PRIVATE)

    def object(self) -> Any:
        """What ``getSession`` gives."""
        objects = self._sessions.objects
        if self._object is not None and objects.ended(self._object):
            self._forget()
        if self._object is None:
            if not self._known and not self._away:
                self._load_now()
            if self._away and (self._id is None or not objects.has(self._id)):
                self._look()
            known = self._object = objects.find(self._id)
            if known is None:
                known = self._object = objects.make_pending(self, self._id)
                if not objects.is_pending(known):
                    self.object_used(known)
        self._object.touch()
        return self._object

    def object_used(self, used: Any) -> None:
        """There is something in it now, so it is one of the site's sessions."""
        try:
            self._may_write()
        except RuntimeError:
            return  # nobody would ever know its id
        if self._id is not None and self._object is used:
            self._sessions.objects.add(self._id, used)

    def end(self, *, whole: bool) -> None:
        """The response is whole, or nobody waits for it: the request is let go."""
        self._request = None
        self._ended = whole
        if self._object is not None:
            self._sessions.objects.let_go(self._object)
