"""What is in a session: text keys and values of JSON, and which of them have changed.

Each value is held as its JSON text, and decoded when it is asked for. A value that can change by itself
(a list, a dict) is encoded again when the session is saved and compared with the text it had, so
``session["cart"].append(...)`` counts as a write. The size is known at every write, and bounded there.

Who may write, and what becomes of the changes, is ``hardhttp.web.session.Session``'s to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from typing import Any

from hardhttp.errors import SessionTooLargeError

__all__ = ["SessionValues"]

# Texts are ASCII, so that their length is their size.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder().raw_decode
# What cannot change once it has been handed out.
_FIXED = frozenset({int, float, str, bool, type(None)})


class SessionValues(MutableMapping[str, Any]):
    """The mapping, and its changes."""

    _known = False  # whether the values are here; ``_look`` has them come
    _size = -1  # not counted yet

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}  # each value as JSON, as it is to be
        self._values: dict[str, Any] = {}  # those that were asked for or written
        self._changed: dict[str, str | None] = {}  # keys to be saved, in order

    # -- what a session knows better ----------------------------------------------------------

    def _look(self) -> None:
        """Have the values, or raise."""
        raise NotImplementedError

    def _may_write(self) -> None:
        """Be one that can be saved, or raise."""
        raise NotImplementedError

    @property
    def _max_bytes(self) -> int:
        raise NotImplementedError

    # -- the mapping --------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if not self._known:
            self._look()
        values = self._values
        if key in values:
            return values[key]
        value = values[key] = _decode(self._texts[key])[0]
        return value

    def get(self, key: str, default: Any = None) -> Any:
        if not self._known:
            self._look()
        return self[key] if key in self._texts else default

    def __setitem__(self, key: str, value: Any) -> None:
        text = _text_of(key, value)
        if not self._known:
            self._look()
        self._put(key, text)
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        self._look()
        text = self._texts[key]
        self._may_write()
        if self._size >= 0:
            self._size -= _bytes(key) + _bytes(text)
        del self._texts[key]
        self._values.pop(key, None)
        self._changed[key] = None

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._texts)

    def __len__(self) -> int:
        self._look()
        return len(self._texts)

    def __contains__(self, key: object) -> bool:
        self._look()
        return key in self._texts

    # -- changes ------------------------------------------------------------------------------

    def _put(self, key: str, text: str) -> None:
        texts = self._texts
        old = texts.get(key)
        size = self._size
        if size < 0:
            size = 0
            for name, held in texts.items():
                size += _bytes(name) + _bytes(held)
        # Ours is ASCII; what another wrote may not be.
        grown = size + len(text) + (_bytes(key) if old is None else -_bytes(old))
        if grown > size and grown > self._max_bytes:
            raise SessionTooLargeError(
                f"with session[{key!r}] the session is {grown} bytes; at most {self._max_bytes} are allowed"
            )
        self._may_write()
        texts = self._texts  # another one, when what was there had ended
        self._size = grown if texts or old is None else len(text) + _bytes(key)
        texts[key] = text
        self._changed[key] = None

    def _note_changes(self) -> None:
        """Note the values that have changed since they were handed out. Raises as a write does."""
        for key, value in self._values.items():
            if type(value) not in _FIXED:
                text = _text_of(key, value)
                if text != self._texts[key]:
                    self._put(key, text)

    def _empty(self) -> None:
        self._texts, self._values, self._size = {}, {}, -1
        self._changed.clear()


def _text_of(key: str, value: Any) -> str:
    """``value`` as JSON. Raises ``TypeError``, naming the key, for what is none."""
    if type(key) is not str:
        raise TypeError(f"a session's keys are text, not {type(key).__name__}")
    try:
        if not key.isascii():
            key.encode("utf-8")
        return str(value) if type(value) is int else _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"session[{key!r}] cannot be kept as JSON: {error}") from None


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8"))
