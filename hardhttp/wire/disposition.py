"""Content-Disposition (RFC 6266): the name a file is to be saved under."""

from __future__ import annotations

import re
from urllib.parse import quote

__all__ = ["content_disposition"]

# RFC 8187, 3.2.1: attr-char, without what quote() leaves alone anyway.
_ATTR_CHARS = "!#$&+-.^_`|~"
MAX_NAME_CHARACTERS = 255  # what file systems take

# Folders, controls, and marks that make a name read as another (right-to-left overrides).
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f/\\\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What quoted-string would have to escape, and "%", which some browsers decode (RFC 6266, appendix D).
_NOT_IN_FALLBACK = re.compile(r'[^ -~]|["\\%]')


def content_disposition(name: str, kind: str = "attachment") -> bytes:
    """Content-Disposition's value for a file to be saved as ``name``.

    What is no part of a file's name (folders, controls, marks that turn the writing round) becomes
    ``_``. A name that is not plain ASCII is told twice: so that old clients can read it, and as it is.
    """
    if kind not in ("attachment", "inline"):
        raise ValueError("kind must be 'attachment' or 'inline'")
    name = _UNFIT.sub("_", name)[:MAX_NAME_CHARACTERS]
    fallback = _NOT_IN_FALLBACK.sub("_", name)
    value = f'{kind}; filename="{fallback}"'
    if fallback != name:
        value += "; filename*=UTF-8''" + quote(name, safe=_ATTR_CHARS)
    return value.encode("ascii")
