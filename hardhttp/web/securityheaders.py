"""Headers that tell a browser to do less, on every answer below.

They are set right before a head is made, on error pages and refusals too, and never where the
application has set the same header. What they are is fixed when the wrapper is made, so that a
request costs a few look-ups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.web.resource import IResource

from hardhttp.web.beforehead import before_head, checked_fields, default_fields
from hardhttp.web.wrapping import Wrapper

__all__ = ["SecurityHeaders"]

# What few pages need, and no script from elsewhere should be able to turn on.
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=()"
_ANCESTORS = {"DENY": "'none'", "SAMEORIGIN": "'self'", None: "*"}
_DEFAULT = "the default"
MAX_HSTS_SECONDS = 10 * 366 * 86_400
# What hstspreload.org asks for.
PRELOAD_SECONDS = 365 * 86_400


class SecurityHeaders(Wrapper):
    """``resource``, with headers for browsers on each answer that does not set them itself.

    Each argument is a header's value, and ``None`` leaves it out. ``content_security_policy`` is by default one that
    leaves a page's own scripts and styles alone: no plug-ins, no foreign base or form target,
    and no foreign frames around it, as ``frame_options`` (``"DENY"``, ``"SAMEORIGIN"`` or ``None``) says.

    ``hsts_seconds`` turns on Strict-Transport-Security (RFC 6797), sent over TLS alone (7.2); with
    ``hsts_subdomains`` for every host below too, and ``hsts_preload`` asks to be put into browsers' own lists.
    ``more`` are further headers. Raises ``ValueError`` for a value that cannot be sent.
    """

    def __init__(
        self,
        resource: IResource,
        *,
        content_security_policy: str | None = _DEFAULT,
        frame_options: str | None = "DENY",
        referrer_policy: str | None = "strict-origin-when-cross-origin",
        permissions_policy: str | None = PERMISSIONS_POLICY,
        cross_origin_opener_policy: str | None = "same-origin",
        cross_origin_resource_policy: str | None = "same-origin",
        content_type_options: str | None = "nosniff",
        hsts_seconds: int | None = None,
        hsts_subdomains: bool = False,
        hsts_preload: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(resource)
        if frame_options not in _ANCESTORS:
            raise ValueError(f"frame_options is {frame_options!r}; it must be 'DENY', 'SAMEORIGIN' or None")
        if content_security_policy is _DEFAULT:
            ancestors = _ANCESTORS[frame_options]
            content_security_policy = (
                f"base-uri 'self'; form-action 'self'; frame-ancestors {ancestors}; object-src 'none'"
            )
        values = {
            "Content-Security-Policy": content_security_policy,
            "Cross-Origin-Opener-Policy": cross_origin_opener_policy,
            "Cross-Origin-Resource-Policy": cross_origin_resource_policy,
            "Permissions-Policy": permissions_policy,
            "Referrer-Policy": referrer_policy,
            "X-Content-Type-Options": content_type_options,
            "X-Frame-Options": frame_options,
            **(more or {}),
        }
        self._fields = checked_fields({name: value for name, value in values.items() if value is not None})
        self._secure_fields = self._fields
        if hsts_seconds is not None:
            if not 0 <= hsts_seconds <= MAX_HSTS_SECONDS:
                raise ValueError(f"hsts_seconds is {hsts_seconds!r}; it must be from 0 to {MAX_HSTS_SECONDS:,}")
            if hsts_preload and not (hsts_subdomains and hsts_seconds >= PRELOAD_SECONDS):
                raise ValueError(f"hsts_preload needs hsts_subdomains, and hsts_seconds of {PRELOAD_SECONDS:,} or more")
            value = f"max-age={int(hsts_seconds)}" + ("; includeSubDomains" if hsts_subdomains else "")
            value += "; preload" if hsts_preload else ""
            self._secure_fields = {**self._fields, **checked_fields({"Strict-Transport-Security": value})}

    def begin(self, request: Any) -> None:
        before_head(request, self._set)

    def _set(self, request: Any) -> None:
        fields = self._fields
        if self._secure_fields is not fields and request.isSecure():
            fields = self._secure_fields
        default_fields(request, fields)
