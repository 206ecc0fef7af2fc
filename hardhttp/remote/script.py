"""A Lua script that Redis runs as one step, by its digest."""

from __future__ import annotations

import hashlib

import attrs

__all__ = ["Script"]


@attrs.frozen
class Script:
    """A script's text, and the digest Redis knows it by (``EVALSHA``)."""

    text: bytes
    sha1: bytes

    @classmethod
    def of(cls, text: str) -> Script:
        encoded = text.encode("ascii")
        return cls(encoded, hashlib.sha1(encoded, usedforsecurity=False).hexdigest().encode("ascii"))
