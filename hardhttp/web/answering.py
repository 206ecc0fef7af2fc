"""What goes on around a handler: hooks before and after it, and who answers when it fails.

``Hooks`` is what holds at one place of a router, put together when it is said and not when a request
comes. ``answer`` calls a handler inside them, in this order:

1. each before hook, outermost group first. One may answer (then nothing further is called but the
   after hooks), raise, or return ``SKIP`` (then the other before hooks are left out);
2. the handler;
3. for an exception, the error handler for it: the nearest group's, and there the one for the status,
   else for the most derived class, else for 500. When nobody takes it, or that one fails, its page;
4. each after hook once, innermost group first and the last one said first, with the ``Response``,
   whoever made it. One that raises costs the answer: it becomes a 500, logged, and the others see that.

Any of them may be a coroutine or return a Deferred. All of it is one generator that yields what has to
be waited for, so that what need not wait costs no Deferred. When the client goes, whatever is waited
for is cancelled, and nothing more is called.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from enum import Enum
from secrets import token_hex
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import Fault, HTTPError
from hardhttp.web import pages
from hardhttp.web.beforehead import drop_field, field
from hardhttp.web.request import Request
from hardhttp.web.response import Response
from hardhttp.web.results import TEMPLATES, discard, is_later, make_response, rendered, send_value

__all__ = ["SKIP", "ErrorKey", "Hook", "Hooks", "answer"]

_log = Logger(namespace="hardhttp")

Hook = Callable[..., Any]
ErrorKey = int | type[Exception]


class _Skip(Enum):
    SKIP = "skip"


SKIP: Final = _Skip.SKIP
"""What a before hook returns to have the handler called at once, without the other before hooks."""

_UNTAKEN: Final = object()


class Hooks:
    """What holds at one place: ``before`` and ``after`` in the order they run, ``errors`` nearest first."""

    __slots__ = ("after", "before", "errors", "surround")

    def __init__(self) -> None:
        self.set((), (), ())

    def set(self, before: tuple[Hook, ...], after: tuple[Hook, ...], errors: tuple[Mapping[Any, Hook], ...]) -> None:
        self.before, self.after, self.errors = before, after, errors
        self.surround = bool(before or after)

    def taker(self, error: Exception) -> tuple[Hook | None, bool]:
        """Who answers for ``error``, and whether that is for its class or its own status."""
        status = error.status if isinstance(error, HTTPError) else None
        for handlers in self.errors:
            if status in handlers:
                return handlers[status], True
            for kind in type(error).__mro__:
                if kind in handlers:
                    return handlers[kind], True
            if status is None and 500 in handlers:
                return handlers[500], False
        return None, False


def answer(request: Any, hooks: Hooks, call: Callable[[], Any], *, before: bool = True, after: bool = True) -> Any:
    """Call ``call`` inside ``hooks``; what ``render`` may return.

    Without ``before`` or ``after`` those are left out: where there is no handler, or it answers without a
    ``Response``.
    """
    steps = _steps(request, hooks, hooks.before if before else (), call, hooks.after if after else ())
    return _run(request, steps)


def _run(request: Any, steps: Generator[Any, Any, Any]) -> Any:
    try:
        waited = next(steps)
    except StopIteration as stop:
        return stop.value
    except Exception:
        if isinstance(request, Request) or not request.startedWriting:
            raise
        _end_half_way(request, Failure())
        return NOT_DONE_YET
    later = Deferred.fromCoroutine(_go_on(steps, waited))
    return later if isinstance(request, Request) else _answer_later(request, later)


async def _go_on(steps: Generator[Any, Any, Any], waited: Any) -> Any:
    try:
        while True:
            try:
                value = await waited
            except Exception as error:
                waited = steps.throw(error)
            else:
                waited = steps.send(value)
    except StopIteration as stop:
        return stop.value


def _steps(
    request: Any, hooks: Hooks, before: tuple[Hook, ...], call: Callable[[], Any], after: tuple[Hook, ...]
) -> Generator[Any, Any, Any]:
    try:
        value = None
        for hook in before:
            value = hook(request)
            if is_later(value):
                value = yield value
            if value is not None:
                break
        if value is None or value is SKIP:
            value = call()
            if is_later(value):
                value = yield value
        if isinstance(value, TEMPLATES):
            value = yield rendered(request, value)
    except Exception as error:
        value = yield from _answer_error(request, hooks, error, after)
        if value is _UNTAKEN:
            raise
    if _is_gone(request):
        discard(value)
        return NOT_DONE_YET
    if not after or value is NOT_DONE_YET or (value is None and request.startedWriting):
        return send_value(request, value)
    return (yield from _finish(request, after, value))


def _finish(request: Any, after: tuple[Hook, ...], value: Any) -> Generator[Any, Any, Any]:
    """Show the answer to the after hooks, and send it."""
    try:
        response = make_response(request, value)
    except Exception:
        response = _failed(request)
    for hook in after:
        try:
            said = hook(request, response)
            if is_later(said):
                said = yield said
            if said is not None and said is not response:
                if not isinstance(said, Response):
                    raise TypeError(f"an after hook returned {type(said).__name__}, not a Response or None")
                if said.body is not response.body:  # else it goes on with what the first one had
                    response.close()
                response = said
        except Exception:
            response.close()
            if _is_gone(request):
                raise
            response = _failed(request)
        if _is_gone(request):
            response.close()
            return NOT_DONE_YET
    return send_value(request, response)


def _answer_error(request: Any, hooks: Hooks, error: Exception, after: tuple[Hook, ...]) -> Generator[Any, Any, Any]:
    """What answers ``error``, which is being handled, or ``_UNTAKEN``: the request does it then.

    Nothing here raises ``error`` itself: its traceback would hold this frame, and this frame holds it.
    """
    if isinstance(error, Fault) or request.startedWriting or _is_gone(request):
        return _UNTAKEN
    handler, expected = hooks.taker(error)
    if handler is None and not after and (isinstance(request, Request) or not isinstance(error, HTTPError)):
        return _UNTAKEN
    if not expected and handler is not None:
        _log_failure(request)
    try:
        return _page_of(request, error) if handler is None else (yield from _call_taker(request, handler, error))
    finally:
        # It goes no further. One that came by a Deferred is in a frame of its own traceback: it would hold itself.
        error.__traceback__ = None


def _call_taker(request: Any, handler: Hook, error: Exception) -> Generator[Any, Any, Any]:
    """What the error handler says, or the page for what it raises."""
    try:
        pages.drop_document(request)
        drop_field(request, b"Content-Type")
        request.setResponseCode(error.status if isinstance(error, HTTPError) else 500)
        for field_name, text in error.headers.items() if isinstance(error, HTTPError) else ():
            request.setHeader(field_name.encode("ascii"), text.encode("utf-8"))
        value = handler(request, error)
        if is_later(value):
            value = yield value
        if isinstance(value, TEMPLATES):
            value = yield rendered(request, value)
        return value
    except Exception as failed:
        if request.startedWriting or _is_gone(request):
            raise
        page = _page_of(request, failed)
        failed.__traceback__ = None
        return page


def _page_of(request: Any, error: Exception) -> Response:
    """The page for ``error``, which is being handled."""
    if not isinstance(error, HTTPError):
        return _failed(request)
    if isinstance(request, Request):
        request.noteError(error)
    page = pages.error_page(request, error.status, error.detail, error.headers, error.problem)
    return Response(error.status, None, page, content_type=field(request, b"Content-Type"))


def _failed(request: Any) -> Response:
    """Log what is being handled; the page that gives its id."""
    failure = Failure()
    try:
        _log_failure(request)
        traces = getattr(getattr(request, "site", None), "displayTracebacks", False)
        page = pages.failed(request, failure if traces else None)
        return Response(500, None, page, content_type=field(request, b"Content-Type"))
    finally:
        failure.cleanFailure()
        del failure


def _log_failure(request: Any) -> None:
    """Log and count what is being handled."""
    failure = Failure()
    try:
        if isinstance(request, Request):
            request.noteFailure(failure)
        else:
            request.request_id = token_hex(8)  # the page has it too
            _log.failure("request {id} failed", failure=failure, id=request.request_id)
    finally:
        failure.cleanFailure()
        del failure


def _is_gone(request: Any) -> bool:
    """Whether nobody waits for the answer any more."""
    return bool(request._disconnected)


# -- under twisted.web's own server ----------------------------------------------------------


def _end_half_way(request: Any, failure: Failure) -> None:
    """``twisted.web`` would put its page behind half a response and call it whole."""
    _log.failure("a response failed half way; its connection is closed", failure=failure)
    failure.cleanFailure()
    request.loseConnection()


def _answer_later(request: Any, later: Deferred[Any]) -> Any:
    """``twisted.web`` knows no Deferred: write what it gives, and cancel it when the client goes."""

    def ended(_: Failure) -> None:
        later.cancel()

    def send(body: Any) -> None:
        if body is not NOT_DONE_YET and not _is_gone(request):
            if request.method != b"HEAD" or body:
                request.setHeader(b"Content-Length", b"%d" % len(body))
            request.write(body)
            request.finish()

    def failed(failure: Failure) -> None:
        if not _is_gone(request):
            if request.startedWriting:
                _end_half_way(request, failure)
            else:
                request.processingFailed(failure)
        failure.cleanFailure()

    request.notifyFinish().addErrback(ended)
    later.addCallback(send).addErrback(failed)
    return NOT_DONE_YET
