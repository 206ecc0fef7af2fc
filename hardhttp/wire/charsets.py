"""The charsets a peer may name: Python's text codecs, from a closed list.

A label is looked up in tables that are there already, never with ``codecs.lookup``: that imports what
it is told to, and ``encodings`` remembers every name it does not know, for ever. Left out are codecs
that are no text (``zlib``), that cost more than they are long (``punycode``, ``idna``), that mean
something else to whoever wrote the text (``unicode_escape``) or that hide markup (``utf_7``).
"""

from __future__ import annotations

import re
from encodings import normalize_encoding
from encodings.aliases import aliases

__all__ = ["UTF_8", "holds_ascii", "text_codec"]

UTF_8 = "utf_8"

# The longest of Python's own is 26 characters.
MAX_LABEL = 40
_LABEL = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:+-]*")
_NO_TEXT = {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
_NO_THANKS = {"idna", "mbcs", "oem", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf_7"}
# In use, and without an alias of Python's.
_WITHOUT_ALIAS = {"cp874", "koi8_t", "koi8_u", "utf_8_sig"}
_CODECS = frozenset({*aliases.values(), *_WITHOUT_ALIAS} - _NO_TEXT - _NO_THANKS)
_ASCII = bytes(range(0x20, 0x7F))


def text_codec(label: str) -> str | None:
    """The name of Python's codec for a charset (RFC 9110, 8.3.2), or ``None`` for one not known.

    Python's meaning is taken, not that of browsers: ``iso-8859-1`` has C1 controls where they see
    ``windows-1252``.
    """
    label = label.strip(" \t")
    if len(label) > MAX_LABEL or _LABEL.fullmatch(label) is None:
        return None
    normal = normalize_encoding(label.lower())
    name = aliases.get(normal, normal)
    return name if name in _CODECS else None


def holds_ascii(codec: str) -> bool:
    """Whether US-ASCII is the same in ``codec`` (one ``text_codec`` has named)."""
    try:
        return _ASCII.decode(codec) == _ASCII.decode("ascii")
    except ValueError:
        return False
