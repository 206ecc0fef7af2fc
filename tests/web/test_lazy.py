"""Attributes made when asked for."""

from __future__ import annotations

from hardhttp.web.lazy import lazy


class Thing:
    made = 0

    @lazy
    def value(self) -> int:
        """What it is worth."""
        self.made += 1
        return self.made


def test_it_is_made_once_when_asked_for() -> None:
    thing = Thing()
    assert "value" not in thing.__dict__
    assert (thing.value, thing.value, thing.made) == (1, 1, 1)


def test_it_may_be_assigned_before_or_after() -> None:
    before, after = Thing(), Thing()
    before.value = 7
    assert (before.value, before.made) == (7, 0)
    assert after.value == 1
    after.value = 8
    assert after.value == 8


def test_deleted_it_is_made_anew() -> None:
    thing = Thing()
    assert thing.value == 1
    del thing.value
    assert thing.value == 2


def test_of_the_class_it_is_itself() -> None:
    assert isinstance(Thing.value, lazy)
    assert Thing.value.__doc__ == "What it is worth."
