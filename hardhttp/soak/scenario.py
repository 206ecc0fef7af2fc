"""What a scenario is: a kind of client, how many of them, and what a sound server makes of them.

A scenario is a class. Its docstring says what its clients do and what a sound server does; ``rows``
names what it is the proof of; ``expectation`` holds the bounds that a verdict is made from. All it
knows of the server is a ``Load``: connections to it, time, and a place to count what came of them.
Nothing here judges: a scenario only does, and counts.

Every scenario is bounded twice. It opens at most ``connections`` at once, and not more than
``per_second``; and its ``Load`` ends, which ends every wait and every connection it has. So a
scenario needs no cleaning up, and none leaves anything behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import attrs

from hardhttp.soak import verdict

if TYPE_CHECKING:
    from hardhttp.soak.load import Load

__all__ = ["ALLOCATOR_BYTES", "HELD", "KIB", "MIB", "PATHS", "Expectation", "Scenario"]

KIB, MIB = 1 << 10, 1 << 20
# What glibc may rightly keep after many bodies of 16 MiB were held at once: blocks up to 32 MiB come from the heap once
# one of that size was freed (mallopt(3), M_MMAP_THRESHOLD), and the heap shrinks from its top alone. It does not grow
# from round to round, which is judged apart.
ALLOCATOR_BYTES = 160 * MIB
# How a client's life ends when it is still there at the end of its load.
HELD = "held"

# What a path of the server is for. A scenario that needs one the server has not is passed over.
PATHS: Mapping[str, str] = {
    "hello": "answers a small page",
    "large": "answers a body of 16 MiB or so, by Content-Length, with ranges where the server has them",
    "upload": "reads a POST's body, and answers",
    "session": "writes something into the visitor's session",
    "look": "looks at the visitor's session, and writes nothing",
    "events": "a stream of Server-Sent Events that says something each second",
    "later": "does not answer",
    "websocket": "opens a WebSocket",
}


@attrs.frozen(kw_only=True)
class Expectation(verdict.Expectation):
    """What a sound server does under a load, as bounds: those of the verdict on its process, and two on what its
    clients see.

    ``answers``: how a client of the load may be answered, in the words of ``Load.count``, of which the first counts
    (``413`` stands for ``413 body-bytes`` too); empty: in any way. ``held_seconds``: how long a client that earns
    nothing may be kept; a load that is shorter proves nothing of it. ``None``: as long as it likes.
    ``until_expiry``: what a client rightly leaves behind until its time is over, in bytes, by how it was answered.
    Memory and ledger may grow by that; what they may grow to is bounded by ``left_bytes`` all the same.
    """

    answers: frozenset[str] = frozenset()
    held_seconds: float | None = None
    until_expiry: Mapping[str, int] = attrs.field(factory=dict)

    def after(self, outcomes: Mapping[str, int], rounds: int) -> Expectation:
        """These bounds with what so many clients, in so many rounds together, have rightly left behind."""
        rightly = sum(outcomes.get(outcome, 0) * size for outcome, size in self.until_expiry.items())
        if not rightly:
            return self
        return attrs.evolve(
            self,
            slope_bytes_per_round=self.slope_bytes_per_round + rightly // max(1, rounds),
            left_ledger_bytes=self.left_ledger_bytes + rightly,
        )

    def strange(self, outcomes: Mapping[str, int]) -> dict[str, int]:
        """Those outcomes that are not a sound server's."""
        if not self.answers:
            return {}
        allowed = self.answers | {HELD}
        return {
            outcome: count
            for outcome, count in outcomes.items()
            if outcome not in allowed and outcome.partition(" ")[0] not in allowed
        }


class Scenario:
    """A kind of client. Subclasses give the attributes, and ``client`` or ``run``."""

    name: ClassVar[str]
    # Of the seeds (V01, E02...), and of what ten servers do by default ("ten: head drip").
    rows: ClassVar[tuple[str, ...]] = ()
    # Which of ``PATHS`` there must be.
    needs: ClassVar[frozenset[str]] = frozenset()
    # What the server must speak besides HTTP/1.1: "http2".
    speaks: ClassVar[str | None] = None
    # What of the server it must be able to reach besides its port: "pid", to lower its limits.
    reaches: ClassVar[str | None] = None
    expectation: ClassVar[Expectation] = Expectation()
    connections: ClassVar[int] = 50
    per_second: ClassVar[float] = 100.0
    # Part of the short run that a self-test makes, and the limits of hardhttp that should answer it.
    answered_by: tuple[str, ...] = ()

    async def run(self, load: Load) -> None:
        """Put the load on, until it has ended. The clients of a plain scenario are all alike."""
        await load.keep(self.client, self.connections, self.per_second)

    async def client(self, load: Load) -> None:
        """One client's life. What it raises of the network's is counted; what else it raises is a fault of ours."""
        raise NotImplementedError

    @classmethod
    def says(cls) -> str:
        """The docstring's first sentence: for a list."""
        first, _, _ = " ".join((cls.__doc__ or "").replace("``", "").split()).partition(". ")
        return first.rstrip(".") + "."
