"""What a behaviour is, and the list of all there are.

A behaviour is a coroutine function that is given one ``Conversation``, and does with it what a broken, hostile or
merely old peer does. Its docstring has two paragraphs: what it does, and, beginning with "A sound client", what a
client should make of it. The decorator ``behaviour`` reads both and enters it in ``CATALOGUE`` under its name, with
hyphens for underscores.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from hardhttp.testing.misbehaving.conversation import Conversation

__all__ = ["CATALOGUE", "Behaviour", "Role", "Talk", "behaviour"]

Talk = Callable[["Conversation"], Awaitable[None]]


class Role(Enum):
    """What the client takes the peer for."""

    ORIGIN = "origin"
    PROXY = "proxy"
    SOCKS = "socks"  # a proxy that speaks SOCKS 5
    HTTP2 = "http2"  # an origin that speaks HTTP/2 and nothing else


@attrs.frozen
class Behaviour:
    """One way to behave. ``talk`` is run once for each connection.

    ``does`` and ``sound`` are sentences for people. ``needs`` is a module without which it cannot be done.
    """

    name: str
    role: Role
    does: str
    sound: str
    talk: Talk = attrs.field(repr=False)
    needs: str | None = None

    def __call__(self, conversation: Conversation) -> Awaitable[None]:
        return self.talk(conversation)

    @property
    def is_possible(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or find_spec(self.needs) is not None


CATALOGUE: Final[dict[str, Behaviour]] = {}


def behaviour(role: Role = Role.ORIGIN, needs: str | None = None) -> Callable[[Talk], Behaviour]:
    """Enter a coroutine function in the catalogue."""

    def enter(talk: Talk) -> Behaviour:
        does, _, sound = inspect.cleandoc(talk.__doc__ or "").partition("\n\n")
        if not does or not sound.startswith("A sound client "):
            raise ValueError(f"{talk.__name__}: say what it does, and then what a sound client does")
        name = talk.__name__.replace("_", "-")
        entry = Behaviour(name, role, " ".join(does.split()), " ".join(sound.split()), talk, needs)
        if CATALOGUE.setdefault(name, entry) is not entry:
            raise ValueError(f"{name} is there already")
        return entry

    return enter
