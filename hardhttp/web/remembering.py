"""When a request's session is loaded and saved.

A session is read when something looks at it. A store that cannot answer at once is asked before the
resource is rendered, if the request bears the cookie; otherwise nothing is asked at all.

A whole response is sent when the session has been saved: when that fails its client gets 503 (or 500,
when the session is at fault) instead, and no cookie. Of a response sent in pieces the head goes out as
the save begins, and the last piece when it is done, what has been written since included; when that
fails the connection is cut, as after any failure half way. A response of 500 or above saves nothing,
and neither does a request whose client has gone, unless ``session.save()`` is called.

A request that never looks at its session costs a look at ``None`` here and there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from hardhttp.errors import HTTPError, StoreError
from hardhttp.web.session import RETRY_SECONDS, Session

__all__ = ["Remembering"]

UNSAVED = "a session could not be saved"


class Remembering:
    """The part of ``hardhttp.web.request.Request`` that knows the client's session."""

    code: int
    site: Any
    startedWriting: Any
    finished: Any
    _end: Any
    _pending: Any
    _raised: Callable[[], None]
    _respond: Callable[[bytes], None]
    _finish: Callable[[], None]
    processingFailed: Callable[[Failure], Any]

    _session: Session | None = None  # once something has asked for it
    _session_made: Session | None = None  # the same, or one that was only loaded

    @property
    def session(self) -> Session:
        """The client's session: a mapping of text to JSON values, which looking at does not make."""
        session = self._session
        if session is None:
            if self._session_made is None:
                self._session_made = Session(self.site.cookie_sessions, self)
            session = self._session = self._session_made
        return session

    def getSession(self, sessionInterface: Any = None, forceNotSecure: bool = False) -> Any:
        """``twisted.web``'s session: an object of this process, with the same id as ``session``.

        With an interface, its component. A session begun on a secure connection stays on those,
        whatever ``forceNotSecure`` says.
        """
        known = self.session.object()
        return known if sessionInterface is None else known.getComponent(sessionInterface)

    # -- before the resource is rendered ------------------------------------------------------

    def _load_session(self, then: Callable[[], None]) -> bool:
        """Whether the session has to be loaded first; ``then`` is called when it is."""
        if self._session_made is not None:
            return False
        session = Session(self.site.cookie_sessions, self)
        answer = session.begin_load()
        if answer is None:
            return False
        self._session_made = session
        self._pending = answer  # whoever leaves now cancels it
        answer.addBoth(self._session_loaded, session, then)
        return True

    def _session_loaded(self, record: Any, session: Session, then: Callable[[], None]) -> None:
        self._pending = None
        if self._end is None and not self.finished:
            session.loaded(record)
            then()

    # -- before the response goes out ---------------------------------------------------------

    def _session_holds(self, body: bytes | None) -> bool:
        """Save the session; whether the response has to wait for that, or is another one now.

        It is a whole one, or with ``None`` the end of one. It goes on when all is saved.
        """
        session = self._session
        assert session is not None  # the caller has looked
        saving = None
        if self.code >= 500 and not self.startedWriting:
            session.drop_changes()
        else:
            try:
                session.hand_over()
                saving = session.saved()
            except Exception:
                self._raised()
                return True
        if saving is not None:
            saving.addCallbacks(self._session_saved, self._session_lost, callbackArgs=(body,))
            return True
        if not self.startedWriting:
            session.put_head(self)
        return False

    def _session_saved(self, _: None, body: bytes | None) -> None:
        if self._end is not None or self.finished:
            return
        if body is None:
            self._finish()
        else:
            self._respond(body)

    def _session_lost(self, failure: Failure) -> None:
        """The session could not be saved, so the response must not say that all is well."""
        if self._end is None and not self.finished:
            if failure.check(StoreError):
                self.site.cookie_sessions.store_failed(failure, UNSAVED)
                failure = Failure(HTTPError(503, "Sessions cannot be saved now.", {"Retry-After": str(RETRY_SECONDS)}))
            self.processingFailed(failure)
        else:
            self.site.cookie_sessions.store_failed(failure, UNSAVED)
        failure.cleanFailure()

    def _session_before_stream(self) -> None:
        """The head of a response in pieces is due; raises what the session has become."""
        session = self._session
        assert session is not None
        if self.code >= 500:
            session.drop_changes()
        else:
            session.hand_over()
        session.put_head(self)
