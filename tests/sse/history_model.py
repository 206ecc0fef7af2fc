"""What a history is to do, said with plain lists."""

from __future__ import annotations

from collections.abc import Callable

from hardhttp.sse.update import OVERHEAD_BYTES, Update


def update(sequence: int, *topics: str, id: str | None = None, size: int = 0, at: float = 0.0) -> Update:
    event_id = id or f"abcdefgh-{sequence}"
    return Update(sequence, event_id, topics or ("t",), False, None, b"x" * size, at)


class HistoryModel:
    """Each topic's updates in a list, and each topic's losses in another."""

    def __init__(self, updates: int, topic_bytes: int, age: float, total_bytes: int, topics: int) -> None:
        self.max_updates, self.max_topic_bytes, self.max_age = updates, topic_bytes, age
        self.max_bytes, self.max_topics = total_bytes, topics
        self.held: dict[str, list[Update]] = {}  # the longest silent first
        self.lost: list[tuple[str, int]] = []
        self.published: list[Update] = []

    def append(self, new: Update) -> None:
        self.published.append(new)
        for topic in dict.fromkeys(new.topics):
            self.held[topic] = [*self.held.pop(topic, []), new]
        for topic in new.topics:
            kept = self.held[topic]
            while len(kept) > self.max_updates or sum(len(u.encoded) + OVERHEAD_BYTES for u in kept) > (
                self.max_topic_bytes
            ):
                self.lose(topic)
        while len(self.held) > self.max_topics:
            topic = next(iter(self.held))
            while self.held[topic]:
                self.lose(topic)
            del self.held[topic]
        while sum(u.held_bytes for u in self.all()) > self.max_bytes:
            self.lose_everywhere(self.all()[0])

    def lose(self, topic: str) -> None:
        self.lost.append((topic, self.held[topic].pop(0).sequence))

    def lose_everywhere(self, gone: Update) -> None:
        for topic in self.held:
            if gone in self.held[topic]:
                self.lose(topic)

    def expire(self, now: float) -> None:
        for old in self.all():
            if old.published_at <= now - self.max_age:
                self.lose_everywhere(old)

    def all(self) -> list[Update]:
        return self.read(0, lambda topic: True)

    def read(self, after: int, wanted: Callable[[str], bool]) -> list[Update]:
        held = {u.sequence: u for topic, kept in self.held.items() if wanted(topic) for u in kept}
        return [held[sequence] for sequence in sorted(held) if sequence > after]

    def has_lost(self, after: int, wanted: Callable[[str], bool]) -> bool:
        return any(wanted(topic) and sequence > after for topic, sequence in self.lost)
