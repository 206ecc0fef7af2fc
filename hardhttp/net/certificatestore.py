"""The certificates a port serves: one for each name, fresh, and never none.

In each handshake the client's name (SNI, RFC 6066, 3) chooses: its own certificate, else one with a wildcard
for it, else the default. Files are looked at every ``CHECK_SECONDS``, and on SIGHUP, by time, size and inode.
What has changed is read again, and only what can be used takes the place of what was there: a renewal caught
half-way (the new certificate with the old key) changes nothing, is logged once, and is whole at the next look.
A connection keeps the context it began with, so none is dropped.

The default's context, with which every connection begins, is made anew twice a day in any case: the keys that seal
session tickets live as long as it does.

``Certificates`` is what Twisted calls a connection creator: it fits ``listenSSL`` and ``TLSMemoryBIOFactory``.
``hardhttp.net.tls.TLSFactory`` starts and stops its watch with the port. It owns the contexts; what a file
means is ``hardhttp.net.certificates``'s, what is agreed to ``hardhttp.net.tlspolicy``'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from hardhttp.net.certificates import (
    Certificate,
    CertificateError,
    Files,
    find_files,
    load_authorities,
    load_certificate,
    stamp,
)
from hardhttp.net.tlspolicy import TLSPolicy, make_context, said_by

__all__ = ["Certificates"]

CHECK_SECONDS = 10.0
ROTATE_SECONDS = 12 * 3600.0


@attrs.frozen
class _Served:
    """A certificate, what its files were like when it was read, and the context that serves it."""

    stamp: Any
    certificate: Certificate
    context: SSL.Context = attrs.field(eq=False)


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """What ``find`` finds, read at once and again when it changes. Raises ``CertificateError`` when none can be used.

    ``find`` returns the ``Files`` of each certificate, or raises ``CertificateError``; a path stands for
    ``find_files(path)``. ``default`` is the name, of a file or of a host, whose certificate is served to a client
    that names none, or none of ours; without it that of the first path is. ``clock`` is the time that certificates
    are judged by.
    """

    _log = Logger(namespace="hardhttp")
    _default: _Served | None = None

    def __init__(
        self,
        find: str | Callable[[], list[Files]],
        clock: IReactorTime,
        *,
        policy: TLSPolicy | None = None,
        default: str | None = None,
    ) -> None:
        self._find = (lambda: find_files(find)) if isinstance(find, str) else find
        self._clock = clock
        self.policy = TLSPolicy() if policy is None else policy
        self._default_name = default
        # Without one no session is resumed where clients have certificates; one for all, or none across names.
        self._session_id = b"hardhttp" + os.urandom(8)
        self._served: dict[Files, _Served] = {}
        self._by_name: dict[str, SSL.Context] = {}
        self._told: dict[object, object] = {}  # what has been logged, by what it is about
        self._authorities: list[x509.Certificate] | None = None
        self._authorities_stamp: Any = None
        self._watchers = 0
        self._watch = LoopingCall(self._look)
        self._watch.clock = clock
        self._read()

    # -- what is served -----------------------------------------------------------------------

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """What is served, in the order of the paths."""
        return tuple(served.certificate for served in self._served.values())

    @property
    def default(self) -> Certificate:
        """What is served to a client that names no host, or none of ours."""
        assert self._default is not None  # _read has found one, or raised
        return self._default.certificate

    def covers(self, host: str) -> bool:
        """Whether one of them is for ``host``: a name, or an address without brackets."""
        return self._context_for(host) is not None

    def _context_for(self, host: str) -> SSL.Context | None:
        name = host.lower().rstrip(".")
        found = self._by_name.get(name)
        if found is None:
            _, dot, rest = name.partition(".")
            found = self._by_name.get(f"*.{rest}") if dot else None  # a wildcard is one label (RFC 9525, 6.3)
        return found

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self._first_context, None)

    def _choose(self, connection: SSL.Connection) -> None:
        """The client has said whom it wants."""
        name = connection.get_servername()
        context = self._context_for(name.decode("ascii", "replace")) if name else None
        if context is not None:
            connection.set_context(context)

    # -- keeping it so --------------------------------------------------------------------------

    def start(self) -> None:
        """Look after the files, until ``stop`` is called as often as this was."""
        self._watchers += 1
        if not self._watch.running:
            self._watch.start(CHECK_SECONDS, now=False)

    def stop(self) -> None:
        self._watchers -= 1
        if self._watchers <= 0 and self._watch.running:
            self._watch.stop()

    def _look(self) -> None:
        try:
            self.refresh()
        except Exception:  # a LoopingCall whose function raises never runs again
            self._log.failure("certificates could not be looked after")

    def refresh(self) -> bool:
        """Read what has changed, now; whether something has. What cannot be used leaves what was there."""
        changed = self._read()
        if not changed and self._clock.seconds() >= self._rotates_at:
            self._begin_with(self._default)
        return changed

    def _read(self) -> bool:
        before = self._served
        authorities = self._read_authorities()
        if authorities is not None:
            before = {files: self._made(served.certificate, served.stamp) for files, served in before.items()}
            self._authorities_stamp = authorities  # not before every context has them
        faults: dict[Files, tuple[Any, str]] = {}
        found: dict[Files, _Served] = {}
        # certbot replaces its links one after another; what is gone, is gone with its key.
        kept = (files for files in before if os.path.exists(files.key))
        asked = sorted({*self._found(), *kept}, key=lambda files: files.certificate)
        for files in asked:
            served = self._read_one(files, before.get(files), faults)
            if served is not None:
                found[files] = served
        found = found or before  # all are gone or broken: never none
        if not found:
            raise CertificateError(faults[asked[0]][1])
        for files, (state, fault) in faults.items():
            instead = "; what was there before goes on being served" if files in found or found is before else ""
            self._tell(files, state, fault + instead)
        changed = list(found.values()) != list(self._served.values()) or before is not self._served
        if changed:
            self._served = found
            self._arrange()
        self._told = {
            what: state for what, state in self._told.items() if what in faults or not isinstance(what, Files)
        }
        for served in found.values():
            complaint = served.certificate.complaint(self._clock.seconds())
            if complaint is not None:
                self._tell(served.certificate.leaf, complaint, complaint)
        return changed

    def _found(self) -> list[Files]:
        try:
            found = self._find()
        except CertificateError as error:
            if self._default is None:
                raise
            self._tell(self, str(error), f"{error}; what was there before goes on being served")
            return list(self._served)
        self._told.pop(self, None)
        return found

    def _read_one(self, files: Files, before: _Served | None, faults: dict[Files, tuple[Any, str]]) -> _Served | None:
        """What is there now; what was there before when nothing has changed, or it cannot be used."""
        now = stamp(files.paths)
        if before is not None and before.stamp == now:
            return before
        try:
            served = self._made(load_certificate(files), now)
        except CertificateError as error:
            faults[files] = now, str(error)
            return before
        if self._default is not None:
            fingerprint = served.certificate.fingerprint
            self._log.info("certificate read: {path}, {print}", path=files.certificate, print=fingerprint)
        return served

    def _made(self, certificate: Certificate, now: Any) -> _Served:
        try:
            context = make_context(certificate, self.policy, self._session_id, self._authorities)
        except SSL.Error as error:
            raise CertificateError(f"{certificate.files.certificate}: {said_by(error)}") from None
        context.set_tlsext_servername_callback(self._choose)
        return _Served(now, certificate, context)

    def _read_authorities(self) -> Any:
        """The stamp of new ones, once they are read; ``None`` when there are none."""
        path = self.policy.client_ca
        if path is None or (now := stamp([path])) == self._authorities_stamp:
            return None
        try:
            self._authorities = load_authorities(path)
        except CertificateError as error:
            if self._default is None:
                raise
            self._tell(path, now, f"{error}; clients are judged by what was there before")
            return None
        return now

    def _tell(self, what: object, state: object, message: str) -> None:
        """Log ``message`` once, until ``what`` is in another ``state``."""
        if self._told.get(what) != state:
            self._told[what] = state
            self._log.warn("{message}", message=message)

    def _arrange(self) -> None:
        """Who is served what: of two certificates for the same name it is the one issued last."""
        self._by_name = {}
        for served in sorted(self._served.values(), key=lambda each: each.certificate.leaf.not_valid_before_utc):
            self._by_name.update(dict.fromkeys(served.certificate.names, served.context))
        self._begin_with(self._preferred([*self._served.values()]))

    def _begin_with(self, default: _Served | None) -> None:
        """Every connection begins with the default's certificate, and with ticket keys of its own."""
        assert default is not None
        self._default = default
        self._first_context = self._made(default.certificate, default.stamp).context
        self._rotates_at = self._clock.seconds() + ROTATE_SECONDS

    def _preferred(self, served: list[_Served]) -> _Served:
        """The default; where the one asked for has gone, the first."""
        name = self._default_name
        for each in served:
            if name is not None and (name == each.certificate.files.name or name.lower() in each.certificate.names):
                return each
        if name is not None and self._default is None:
            known = ", ".join(each.certificate.files.name for each in served[:5])
            raise CertificateError(f"default={name}: there is no such certificate; there is {known}")
        return served[0]
