"""What the options put around whatever is served.

From the inside out: compression, so that nothing else is compressed; the rate limit, which refuses
before the application is asked; CORS and security headers, which are on refusals too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.python import usage
from twisted.web.resource import IResource

from hardhttp.tap.checks import items
from hardhttp.tap.tls import hsts_settings
from hardhttp.web.compression import Compressed
from hardhttp.web.cors import CORS
from hardhttp.web.ratelimit import RateLimited
from hardhttp.web.securityheaders import SecurityHeaders

__all__ = ["around"]

# What a page sends to a hub besides what it may always send.
EVENT_HEADERS = ("Authorization", "Last-Event-ID", "Cache-Control")
_NO_HEADERS: dict[str, Any] = dict.fromkeys(
    (
        *("content_security_policy", "frame_options", "referrer_policy", "permissions_policy"),
        *("cross_origin_opener_policy", "cross_origin_resource_policy", "content_type_options"),
    )
)
# What a script that reads a hub's answers by itself sees of them: where a stream begins, and where the hub is.
EVENT_ANSWERS = ("Last-Event-ID", "Link")


def around(resource: Any, options: Mapping[str, Any]) -> IResource:
    """``resource`` in the wrappers that ``options`` ask for. Raises ``usage.UsageError``."""
    if options["compress"]:
        resource = Compressed(resource)
    if options["rate-limit"] is not None:
        try:
            resource = RateLimited(resource, options["rate-limit"])
        except ValueError as error:
            raise usage.UsageError(f"--rate-limit: {error}") from None
    if options["cors-origins"] is not None:
        try:
            with_hub = options["mercure-publisher-key"] or options["mercure-subscriber-key"]
            resource = CORS(
                resource,
                items(options["cors-origins"]),
                credentials=bool(options["cors-credentials"]),
                headers=EVENT_HEADERS if with_hub else (),
                expose=EVENT_ANSWERS if with_hub else (),
            )
        except ValueError as error:
            raise usage.UsageError(f"--cors-origins: {error}") from None
    elif options["cors-credentials"]:
        raise usage.UsageError("--cors-credentials is for --cors-origins, and none are given")
    hsts = hsts_settings(options)
    if hsts or options["security-headers"]:
        try:
            resource = SecurityHeaders(resource, **({} if options["security-headers"] else _NO_HEADERS), **hsts)
        except ValueError as error:
            raise usage.UsageError(f"--hsts {options['hsts']}: {error}") from None
    served: IResource = resource
    return served
