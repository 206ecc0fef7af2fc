"""What all nodes of a broker have published, as one of them has read it: the same numbers and ids everywhere.

It is a history in memory, with three things besides. Epochs come from the broker, so an id that another node gave,
or this one before a restart, is a known place. Numbers that were directed, or lost, are passed over. And what the
broker has lost before this node could read it is a loss like its own: whoever comes from before it is told of a gap,
if one of his topics lost something.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hardhttp.interfaces import BrokerEpoch, Gap, HistoryPlace, Losses, Wanted
from hardhttp.sse.history import Epoch, MemoryHistory

__all__ = ["Replica"]

# An id whose number is further ahead of what was read than this is taken to be nobody's.
MAX_AHEAD = 10_000


class Replica(MemoryHistory):
    """A ``MemoryHistory`` that a broker fills."""

    _all_lost_to = _all_lost_at = 0

    def adopt(self, epochs: Sequence[BrokerEpoch]) -> bool:
        """These are the epochs there are; whether the last one is another than before."""
        last = epochs[-1]
        if last.name == self.epoch:
            return False
        fresh = [each for each in epochs if each.first > self.last_sequence]
        if self.last_sequence:
            end = fresh[0].first - 1 if fresh else self.last_sequence
            self._past.append(Epoch(self.epoch, self._first_sequence, end, self.last_sequence))
        for each, following in pairwise(fresh):
            end = following.first - 1
            self._past.append(Epoch(each.name, each.first, end, end if each.kept is None else each.kept))
        self.epoch, self._first_sequence = last.name, last.first
        if not len(self._all):
            self.last_id = self._our_id(self.last_sequence)
        return True

    def pass_over(self, sequence: int) -> None:
        """Numbers up to this one are in no history."""
        self.last_sequence = max(self.last_sequence, sequence)

    def id_of(self, sequence: int) -> str:
        """The id of this number, which is new."""
        return self._our_id(sequence)

    def is_ahead(self, event_id: str) -> bool:
        """Whether another node may have sent this id already, and it is still to come here."""
        epoch, _, digits = event_id.rpartition("-")
        ours = epoch == self.epoch and digits.isascii() and digits.isdigit() and len(digits) <= 18
        return ours and self.last_sequence < int(digits) <= self.last_sequence + MAX_AHEAD

    @property
    def here(self) -> HistoryPlace:
        """After all there is now."""
        return HistoryPlace(self.last_sequence, self._losses)

    def lose(self, losses: Losses, after: int) -> bool:
        """The broker has lost this; of it, numbers after ``after`` were not read. Whether there are such."""
        before = self._losses
        if losses.forgotten_to > max(after, self._forgotten_to):
            self._losses += 1
            self._forgotten_to, self._forgotten_at, self._forgotten_why = losses.forgotten_to, self._losses, "evicted"
        for name, lost_to in losses.topics.items():
            if lost_to > after:
                self._lose_topic(name, lost_to)
        while len(self._topics) > self._max_topics:
            self._forget()
        return self._losses > before

    def _lose_topic(self, name: str, lost_to: int) -> None:
        if not name:  # what was directed may have been for anybody
            self._losses += 1
            self._all_lost_to, self._all_lost_at = lost_to, self._losses
            return
        log = self._topic(name)
        while (oldest := next(log.after(log.lost_to), None)) is not None and oldest.sequence <= lost_to:
            self._drop_oldest(log, "evicted")
        if lost_to > log.lost_to:
            self._losses += 1
            log.lost_to, log.lost_why, log.lost_at = lost_to, "evicted", self._losses

    def _gap(self, place: HistoryPlace, wanted: Wanted) -> Gap | None:
        gap = super()._gap(place, wanted)
        if 0 <= place.losses < self._all_lost_at and self._all_lost_to > place.sequence and gap is None:
            gap = Gap(self._our_id(place.sequence + 1), self._our_id(self._all_lost_to), "evicted")
        return gap
