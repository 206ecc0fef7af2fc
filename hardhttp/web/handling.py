"""From a request that is whole to the answer of the resource it leads to.

``process`` finds the resource and ``render`` calls it; what that returns, now or later, goes out by
``hardhttp.web.responding``. What it raises is answered here too: a ``Fault`` as itself, an ``HTTPError``
by its page, all else with 500 and an id that is in the log.
"""

from __future__ import annotations

from functools import partial
from inspect import iscoroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource, _IEncodingResource

from hardhttp.errors import Fault, HTTPError, Reason
from hardhttp.web import pages
from hardhttp.web.beforehead import drop_field
from hardhttp.web.responding import Responding
from hardhttp.web.response import Response
from hardhttp.web.sending import send
from hardhttp.wire.response import has_no_body

__all__ = ["Handling", "render_as_get"]

NOT_DONE_YET = server.NOT_DONE_YET
_SUPPORTED = frozenset({b"GET", b"HEAD", b"POST"})


class Handling(Responding):
    """What ``hardhttp.web.request.Request`` says; that class makes the attributes used here."""

    request_id: str
    _pending: Deferred[Any] | None

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The message is whole: called only where a request class overrides it, see ``hardhttp.web.adapting``."""
        self.content.seek(0)  # type: ignore[union-attr]
        self.method, self.uri, self.clientproto, self.path = command, path, version, path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Find the resource and render it."""
        if self.site.loads_sessions and self._load_session(partial(Handling.process, self)):
            return
        path = self.path
        self.prepath = []
        if path == b"*":
            self.postpath = [b"*"]
            self._handleStar()
            return
        segments = path[1:].split(b"/")
        self.postpath = segments if 0x25 not in path else [unquote_to_bytes(segment) for segment in segments]
        try:
            resource = self.site.getResourceFor(self)
            if _IEncodingResource.providedBy(resource):
                self._encoder = resource.getEncoder(self)
            self.render(resource)
        except BaseException:  # sys.exit() and asyncio's CancelledError cost their request alone, as in twisted.web
            self._raised()

    def _raised(self) -> None:
        """Answer the exception being handled; its traceback would keep this request alive."""
        failure = Failure()
        self.processingFailed(failure)
        failure.cleanFailure()
        del failure

    def render(self, resrc: IResource) -> None:
        """Call ``resrc`` and send what it returns, now or later."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod as unsupported:
            body = self._unsupported(resrc, unsupported)
        if type(body) is bytes:
            self._respond(body)
            return
        self._answer(body)
        if not self.finished and not self.startedWriting and self.channel is not None:
            limit = getattr(resrc, "handling_seconds", None)
            self.channel.handle_within(limit if limit is not None else self.site.limits.handling_seconds)

    def _unsupported(self, resource: IResource, unsupported: UnsupportedMethod) -> Any:
        """RFC 9110, 15.5.6 and 15.6.2; HEAD where GET is known is answered as GET (9.3.2)."""
        allowed = unsupported.allowedMethods
        if self.method == b"HEAD" and b"GET" in allowed:
            return render_as_get(self, resource)
        known = self.method in _SUPPORTED or self.method in (b"PUT", b"DELETE", b"OPTIONS", b"PATCH")
        if known:
            self.setHeader(b"Allow", b", ".join(allowed))
        return pages.error_page(self, 405 if known else 501)

    def _answer(self, body: Any) -> None:
        if type(body) is bytes:
            self._respond(body)
        elif body is NOT_DONE_YET:
            pass
        elif isinstance(body, Deferred):
            self._await(body)
        elif iscoroutine(body):
            self._await(Deferred.fromCoroutine(body))
        elif isinstance(body, str):
            if not self.startedWriting and not self._has_header(b"Content-Type"):
                self.setHeader(b"Content-Type", b"text/html; charset=utf-8")
            self._respond(body.encode("utf-8"))
        elif isinstance(body, (bytes, bytearray, memoryview)):
            self._respond(bytes(body))
        elif isinstance(body, Response):
            self._answer(send(self, body))
        elif body is None and has_no_body(self.code):
            self._respond(b"")
        else:
            known = "bytes, str, a Response, NOT_DONE_YET or a Deferred"
            raise TypeError(f"a resource returned {type(body).__name__}, not {known}")

    def _await(self, later: Deferred[Any]) -> None:
        self._pending = later
        later.addCallbacks(self._answered, self._failed)

    def _answered(self, body: Any) -> None:
        self._pending = None
        if self.finished or self._end is not None:
            if isinstance(body, Response):
                body.close()
            return
        if body is None and self.startedWriting:
            self.finish()
            return
        try:
            self._answer(body)
        except BaseException:
            self._raised()

    def _failed(self, failure: Failure) -> None:
        self._pending = None
        if self._end is None or not failure.check(CancelledError):
            self.processingFailed(failure)
        failure.cleanFailure()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer what a handler raised: a ``Fault`` as itself, an ``HTTPError`` by its page, all else with 500."""
        if reason.check(Fault):
            if self.channel is not None:
                self.channel.refuse(reason.value)
            return reason
        error = reason.value
        if isinstance(error, HTTPError) and not self.startedWriting and self._answer_error(error):
            return reason
        self.noteFailure(reason)
        if self.finished or self._end is not None:
            return reason
        if self.startedWriting:
            # Half a response must not look like a whole one.
            self.channel.abort(Reason.INTERNAL)
            return reason
        self._encoder = None
        self._plain = self._headers = self._cookies = self.etag = self.lastModified = None
        self._respond(pages.failed(self, reason if self.site.displayTracebacks else None))
        return reason

    def noteFailure(self, reason: Failure) -> None:
        """Count and log what a handler raised; whoever calls this answers it."""
        self.site.server.statistics.errors += 1
        self._log.failure(
            "request {id} failed: {what}", failure=reason, id=self.request_id, what=_asked(self.method, self.path)
        )

    def noteError(self, error: HTTPError) -> None:
        """The same for an answer of the application's own; those below 500 are no failure of ours."""
        if error.status >= 500:
            self.site.server.statistics.errors += 1
            said = {"id": self.request_id, "what": _asked(self.method, self.path), "error": str(error)}
            self._log.warn("request {id} failed: {what}: {error}", log_budget=f"answers {error.status}", **said)

    def _answer_error(self, error: HTTPError) -> bool:
        """Whether the application's own answer could be sent; nobody may wait for it any more."""
        if self.finished or self._end is not None:
            return True
        self.noteError(error)
        self._encoder = None
        try:
            drop_field(self, b"Content-Encoding")
            self._respond(pages.error_page(self, error.status, error.detail, error.headers, error.problem))
        except Exception:
            self._log.failure("an error page could not be sent")
            return bool(self.startedWriting)
        return True


def _asked(*words: object) -> str:
    """Method and path for a line in the log, as bytes or whatever an application has made of them."""
    return " ".join(
        word.decode("ascii", "backslashreplace") if isinstance(word, bytes) else str(word) for word in words
    )


def render_as_get(request: Any, resource: Any) -> Any:
    """Answer HEAD by a resource that knows only GET (RFC 9110, 9.3.2), on any ``IRequest``.

    The method stays HEAD where it can, so that nothing of what the resource writes is sent. One that looks
    at the method itself is told GET; if it writes at once, its body goes out, and the connection ends
    behind it, for no client expects it.
    """
    render_get = getattr(resource, "render_GET", None)
    if render_get is not None:
        return render_get(request)
    channel = request.channel
    keep_alive = getattr(channel, "keep_alive", None)
    if keep_alive:
        channel.keep_alive = False
    request.method = b"GET"
    try:
        return resource.render(request)
    finally:
        request.method = b"HEAD"
        if keep_alive and not request.startedWriting:
            channel.keep_alive = True
