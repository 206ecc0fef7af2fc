"""The keys of an identity provider, which publishes them at a URL and rotates them (RFC 7517).

What this promises:

- Tokens are verified by the document that was last had, as long as it is no older than a day. While there is none, a
  token is answered 503 and not 401: it may be good.
- The document is fetched at the start, then every ten minutes or when its ``Cache-Control`` says, at SIGHUP
  (``refresh``), and when a token names a key that is not known, which is how a rotation is noticed at once. Anybody can
  make up such a token, so that is no more often than once in half a minute.
- One that cannot be had or read changes nothing that is in force. The log has one line when that begins and one when it
  ends, and nothing of the document.

How the document comes is the business of ``fetch``: this imports no client. What has been verified is not judged again,
so a stream that is open stays open when its key has gone; its token's ``exp`` ends it.

    IDLE      start                                           FETCHING
    WAITING   the timer, refresh, a kid that is not known     FETCHING
    FETCHING  a document, a failure, FETCH_SECONDS            WAITING
    any       stop                                            IDLE

All else is passed over: who asks while it is being fetched is served by that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum, auto
from random import random
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.errors import HTTPError
from hardhttp.sse.jwks import ALGORITHMS, algorithm_of
from hardhttp.sse.tokens import Key, UnknownKeyError

__all__ = ["Document", "FetchError", "KeysMissingError", "RemoteKeys"]

# From the look-up of the name to the last byte; whoever has a token waits so long at the start.
FETCH_SECONDS = 10.0
# Where the provider does not say; as the library jose has it.
USUAL_SECONDS = 600.0
# As its Cache-Control is followed. At the most half of KEPT_SECONDS: one failure must not cost the keys.
LEAST_SECONDS, MOST_SECONDS = 60.0, 43_200.0
# Sooner by up to so much of the time, so that the processes of a hub do not all ask at once.
JITTER = 0.1
# jose's too. Two requests a minute are no burden to any provider, whoever makes up tokens here.
UNKNOWN_KID_SECONDS = 30.0
# The first and the longest wait after a failure, while there are no keys.
FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS = 1.0, 60.0
# A provider that is away for a night must not stop the hub. Longer, and who keeps the document from us, having got hold
# of a key that it names no more, could sign for ever.
KEPT_SECONDS = 86_400.0


@attrs.frozen
class Document:
    """What was fetched; ``fresh_seconds`` is how long it is good by its ``Cache-Control``, where that says."""

    content: bytes = attrs.field(repr=False)
    fresh_seconds: float | None = None


class FetchError(Exception):
    """The document could not be had. ``str()`` goes to the log: it holds nothing that the other side chose."""


class KeysMissingError(HTTPError):
    """503: there are no keys to verify tokens with; in ``retry_seconds`` they are asked for again."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(503, "Tokens cannot be verified now.", {"Retry-After": str(math.ceil(retry_seconds))})
        self.retry_seconds = retry_seconds


class Phase(Enum):
    IDLE = auto()
    FETCHING = auto()
    WAITING = auto()


class Standing(Enum):
    """What the last try left; the log is told when it changes."""

    UNTRIED = auto()
    FRESH = auto()
    KEPT = auto()  # it failed, and the keys from before are in force
    MISSING = auto()  # it failed, and there are none


class RemoteKeys:
    """The keys for ``algorithm`` in the document that ``fetch`` brings: in place of a ``Key``.

    ``fetch`` is called for each try; its Deferred fires with a ``Document`` or fails, with ``FetchError`` where it is
    known why, and may be cancelled. ``close`` lets go of what it keeps in between. ``where`` is how the log calls the
    other side. ``chance`` gives numbers from 0 to 1. Tokens are answered 503 until it is started.

    Raises ``ValueError`` for an algorithm that is none, or whose keys are secrets.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(
        self,
        fetch: Callable[[], Deferred[Document]],
        algorithm: str,
        clock: IReactorTime,
        *,
        close: Callable[[], Deferred[None]] = lambda: succeed(None),
        where: str = "a URL",
        chance: Callable[[], float] = random,
    ) -> None:
        algorithm_of(algorithm)
        if ALGORITHMS[algorithm] == "oct":
            raise ValueError(
                f"{algorithm} has one secret to sign and to verify, and whoever reads it at the URL could sign; "
                "name the algorithm of the public keys there, such as RS256, ES256 or EdDSA"
            )
        self.algorithm = algorithm
        self._fetch, self._close, self._clock, self._where, self._chance = fetch, close, clock, where, chance
        self._phase, self._standing = Phase.IDLE, Standing.UNTRIED
        self._why = "they have not been fetched yet"
        self._key: Key | None = None
        self._kept_until = -math.inf
        self._unknown_kid_from = -math.inf  # then a kid that is not known is asked for again
        self._failures = 0
        self._fetching: Deferred[None] | None = None
        self._next: IDelayedCall | None = None

    def __repr__(self) -> str:
        return f"<RemoteKeys {self.algorithm} of {self._where}: {self._standing.name.lower()}>"

    # -- verifying ----------------------------------------------------------------------------

    def why_missing(self) -> str | None:
        """Why there are no keys, or ``None``: a sentence for whoever operates the hub."""
        return f"there are no keys of {self._where}: {self._why}" if self._in_force() is None else None

    def verified(self, token: str) -> bytes:
        """As ``Key.verified``. Raises ``KeysMissingError`` while there are no keys."""
        key = self._in_force()
        if key is None:
            raise KeysMissingError(
                max(1, self._next.getTime() - self._clock.seconds()) if self._next is not None else 1
            )
        try:
            return key.verified(token)
        except UnknownKeyError:
            now = self._clock.seconds()
            if self._phase is Phase.WAITING and now >= self._unknown_kid_from:
                self._unknown_kid_from = now + UNKNOWN_KID_SECONDS
                self._ask()
            raise

    def _in_force(self) -> Key | None:
        return self._key if self._clock.seconds() < self._kept_until else None

    # -- when to fetch ------------------------------------------------------------------------

    def start(self) -> None:
        """Fetch from now on, until ``stop``."""
        if self._phase is Phase.IDLE:
            self._ask()

    def refresh(self) -> None:
        """Fetch now."""
        if self._phase is Phase.WAITING:
            self._ask()

    def stop(self) -> Deferred[None]:
        """Fetch no more; the keys there are stay in force as long as they would. Fires when nothing is held."""
        self._phase = Phase.IDLE
        self._cancel_next()
        if self._fetching is not None:
            self._fetching.cancel()
        return self._close()

    def _ask(self) -> None:
        self._phase = Phase.FETCHING
        self._cancel_next()
        fetching: Deferred[Any] = maybeDeferred(self._fetch)
        fetching.addTimeout(FETCH_SECONDS, self._clock, _too_late)
        self._fetching = fetching
        fetching.addCallback(self._take).addErrback(self._fail).addBoth(self._wait)

    def _wait(self, seconds: float | Failure) -> None:
        self._fetching = None
        if self._phase is Phase.IDLE:
            return
        if isinstance(seconds, Failure):
            self._log.failure("the keys of {where} could not be kept", seconds, where=self._where)
            seconds = USUAL_SECONDS
        self._phase = Phase.WAITING
        self._next = self._clock.callLater(seconds, self._again)

    def _again(self) -> None:
        self._next = None
        self._ask()

    def _cancel_next(self) -> None:
        call, self._next = self._next, None
        if call is not None:
            call.cancel()

    def _sooner(self, seconds: float) -> float:
        return seconds * (1.0 - JITTER * self._chance())

    # -- what came of it: each gives the seconds to the next try --------------------------------

    def _take(self, document: Document) -> float:
        try:
            key = Key.of_jwks(document.content, self.algorithm)
        except ValueError as error:  # which quotes nothing
            raise FetchError(str(error)) from None
        before, self._key = self._key, key
        self._kept_until = self._clock.seconds() + KEPT_SECONDS
        self._why = "it is a day since they were fetched"  # should that ever be asked
        if self._moved_to(Standing.FRESH):
            self._log.info("the keys of {where} are in force: {n}", where=self._where, n=len(key.kids))
        elif before is not None and before.kids != key.kids:
            self._log.info(
                "the keys of {where} have changed: {new} new, {gone} gone",
                where=self._where,
                new=len(key.kids - before.kids),
                gone=len(before.kids - key.kids),
            )
        fresh = USUAL_SECONDS if document.fresh_seconds is None else document.fresh_seconds
        return self._sooner(min(max(LEAST_SECONDS, fresh), MOST_SECONDS))

    def _fail(self, failure: Failure) -> float:
        if self._phase is Phase.IDLE:
            return math.inf  # it was stopped, and nothing follows
        self._why = _said(failure)
        left = self._kept_until - self._clock.seconds()
        if left > 0:
            if self._moved_to(Standing.KEPT):
                self._log.warn(
                    "the keys of {where} could not be fetched: {why}; those from before are in force for {hours:.0f} h",
                    where=self._where,
                    why=self._why,
                    hours=left / 3600,
                )
            return min(self._sooner(USUAL_SECONDS), left)
        if self._moved_to(Standing.MISSING):
            self._failures = 0
            self._log.error(
                "there are no keys of {where}: {why}; tokens are answered 503", where=self._where, why=self._why
            )
        self._failures += 1
        return min(FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 10), MOST_RETRY_SECONDS)

    def _moved_to(self, standing: Standing) -> bool:
        before, self._standing = self._standing, standing
        return before is not standing


def _too_late(result: Any, seconds: float) -> Any:
    raise FetchError(f"no answer within {seconds:g} s")


def _said(failure: Failure) -> str:
    return str(failure.value) if failure.check(FetchError) else type(failure.value).__name__
