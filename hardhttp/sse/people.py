"""Whose subscribers are whose: users, each with any number of them, and groups.

A name is there as long as it has a subscriber, and not longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["People"]


class People:
    """Subscribers by user and by group."""

    def __init__(self) -> None:
        self.users: dict[str, set[Subscriber]] = {}
        self.groups: dict[str, set[Subscriber]] = {}

    def bind(self, subscriber: Subscriber, user: str | None) -> None:
        """``subscriber`` is ``user``'s alone, or nobody's."""
        if subscriber.user is not None:
            _take(self.users, subscriber.user, subscriber)
        subscriber.user = user
        if user is not None:
            self.users.setdefault(user, set()).add(subscriber)

    def join(self, subscriber: Subscriber, group: str) -> None:
        subscriber.groups |= {group}
        self.groups.setdefault(group, set()).add(subscriber)

    def leave(self, subscriber: Subscriber, group: str) -> None:
        subscriber.groups -= {group}
        _take(self.groups, group, subscriber)

    def forget(self, subscriber: Subscriber) -> None:
        """It has ended. It still says whose it was."""
        if subscriber.user is not None:
            _take(self.users, subscriber.user, subscriber)
        for group in subscriber.groups:
            _take(self.groups, group, subscriber)


def _take(named: dict[str, set[Subscriber]], name: str, subscriber: Subscriber) -> None:
    members = named.get(name)
    if members is not None:
        members.discard(subscriber)
        if not members:
            del named[name]
