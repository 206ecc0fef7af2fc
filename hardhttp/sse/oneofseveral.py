"""What a hub knows of those it is one with: the broker, what waits for it, the other nodes, who is subscribed there.

Without a broker it is alone, and all of this is of itself. ``hardhttp.sse.brokered`` is the hub's side of the broker;
here it can be asked how that stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardhttp.interfaces import BrokerBounds, BrokerState, Everywhere
from hardhttp.net.budget import Keeper
from hardhttp.sse.sending import Sending
from hardhttp.sse.sharedpresence import SharedPresence

if TYPE_CHECKING:
    from hardhttp.sse.outbox import Outbox
    from hardhttp.sse.presence import LocalPresence

__all__ = ["OneOfSeveral"]


class OneOfSeveral(Sending):
    """The part of ``EventHub`` that is about its broker."""

    _presence: LocalPresence | SharedPresence | None = None

    @property
    def broker_state(self) -> BrokerState | None:
        """How it stands with the broker; ``None`` without one."""
        return None if self._brokered is None else self._brokered.broker.state

    @property
    def why_broker_is_away(self) -> str | None:
        """In words without secrets; ``None`` where it is ready, and without one."""
        return None if self._brokered is None else self._brokered.broker.why_away

    @property
    def broker_bounds(self) -> BrokerBounds | None:
        """What the broker keeps, and this hub of it; ``None`` without one."""
        return None if self._brokered is None else self._brokered.broker.bounds

    @property
    def everywhere(self) -> Everywhere:
        """The nodes that are one with this, and their subscribers, as they said a few seconds ago at most."""
        if self._brokered is None:
            return Everywhere(1, len(self._subscribers))
        return self._brokered.broker.everywhere

    @property
    def unpublished(self) -> int:
        """Events published here that wait for the broker, or for its answer."""
        return 0 if self._brokered is None else len(self._brokered.outbox)

    @property
    def outbox(self) -> Outbox | None:
        """What waits for the broker, and its bounds; ``None`` without one."""
        return None if self._brokered is None else self._brokered.outbox

    @property
    def unlisted(self) -> int:
        """Subscribers that should be told of, and are not known to other nodes."""
        return self._presence.unlisted if isinstance(self._presence, SharedPresence) else 0

    def _keepers(self) -> list[Keeper]:
        brokered = self._brokered
        if brokered is None:
            return super()._keepers()
        return [*super()._keepers(), Keeper("unpublished", lambda: brokered.outbox.held_bytes, None)]
