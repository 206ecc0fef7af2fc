"""What ``ISessionStore`` promises, held against every store: memory, a real file, a real Redis."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from hardhttp.errors import SessionTooLargeError
from hardhttp.interfaces import ISessionStore, SessionTimes
from hardhttp.limits import Limits

LIMITS = Limits()
KEY, OTHER = b"\x00" * 31 + b"\x01", b"\xff\r\n \x00" * 6 + b"ab"

HOSTILE = [
    "",
    "\0",
    "a\0b",
    "v:a",
    "a",
    "c",
    "e",
    "b",
    "' OR 1=1; DROP TABLE sessions; --",
    "\r\n$-1\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    "return redis.call('FLUSHALL')",
    "%s {0} {hardhttp}",
    "5 5\n",
    "1e5",
    "-1",
    "\ufeff\u202e\u2028",
    "\U0001f36a",
    "\ud800",
    "\ud83d\ude00",
    "é",
    "e\u0301",
    "x" * 5000,
]


def times(now: float = 1000.0, idle: float = 100.0, created: float | None = None) -> SessionTimes:
    return SessionTimes(now if created is None else created, now, now + idle)


async def texts(store: Any, key: bytes = KEY, now: float = 1000.0) -> dict[str, str] | None:
    record = await store.load(key, now)
    return None if record is None else record.values


@ensureDeferred
async def test_provides_the_interface(store: Any) -> None:
    assert verifyObject(ISessionStore, store)
    assert store.evicted == 0
    assert await store.count() == 0


@ensureDeferred
async def test_save_and_load(store: Any) -> None:
    assert await store.load(KEY, 1000.0) is None
    assert await store.save(KEY, {"a": "1", "b": '"two"'}, times(), LIMITS, True) is True
    record = await store.load(KEY, 1000.0)
    assert record.values == {"a": "1", "b": '"two"'}
    assert record.times == times()
    assert await store.load(OTHER, 1000.0) is None
    assert await store.count() == 1


@ensureDeferred
async def test_what_is_loaded_is_a_copy(store: Any) -> None:
    changes = {"a": "1"}
    saved = store.save(KEY, changes, times(), LIMITS, True)
    changes["a"] = "2"  # the caller goes on
    await saved
    (await store.load(KEY, 1000.0)).values["a"] = "3"
    assert await texts(store) == {"a": "1"}


@ensureDeferred
async def test_times_come_back_to_the_last_bit(store: Any) -> None:
    exact = SessionTimes(1_700_000_000.1234567, math.nextafter(1_700_000_001.0, 0), 1_700_000_002 + 1 / 3)
    await store.save(KEY, {}, exact, LIMITS, True)
    assert (await store.load(KEY, 1.0)).times == exact


@ensureDeferred
async def test_save_merges(store: Any) -> None:
    await store.save(KEY, {"a": "1", "b": "2", "c": "3"}, times(), LIMITS, True)
    assert await store.save(KEY, {"b": "20", "c": None, "d": "4", "never": None}, times(1010), LIMITS, True) is True
    record = await store.load(KEY, 1010.0)
    assert record.values == {"a": "1", "b": "20", "d": "4"}
    assert record.times == SessionTimes(1000.0, 1010.0, 1110.0)  # created_at is the first one's


@ensureDeferred
async def test_the_last_key_removed_leaves_an_empty_session(store: Any) -> None:
    await store.save(KEY, {"a": "1"}, times(), LIMITS, True)
    assert await store.save(KEY, {"a": None}, times(), LIMITS, False) is True
    assert await texts(store) == {}
    assert await store.count() == 1


@ensureDeferred
async def test_save_of_nothing_makes_a_session(store: Any) -> None:
    assert await store.save(KEY, {}, times(), LIMITS, True) is True
    assert await texts(store) == {}


@ensureDeferred
async def test_without_create_nothing_is_made(store: Any) -> None:
    assert await store.save(KEY, {"a": "1"}, times(), LIMITS, False) is False
    assert await store.load(KEY, 1000.0) is None
    assert await store.count() == 0
    await store.save(KEY, {"a": "1"}, times(), LIMITS, True)
    assert await store.save(KEY, {"b": "2"}, times(), LIMITS, False) is True


@ensureDeferred
async def test_it_is_gone_at_the_instant_it_expires(store: Any) -> None:
    await store.save(KEY, {"a": "1"}, SessionTimes(1000.0, 1000.0, 1100.0), LIMITS, True)
    assert await texts(store, now=math.nextafter(1100.0, 0)) == {"a": "1"}
    assert await store.load(KEY, 1100.0) is None


@ensureDeferred
async def test_times_are_compared_as_numbers(store: Any) -> None:
    await store.save(KEY, {"a": "1"}, SessionTimes(900.0, 900.0, 1000.0), LIMITS, True)
    await store.save(OTHER, {"b": "2"}, SessionTimes(2.0, 2.0, 90.0), LIMITS, True)
    assert await texts(store, KEY, 950.0) == {"a": "1"}
    assert await texts(store, OTHER, 100.0) is None
    assert await store.touch(KEY, times(999.0)) is True
    await store.sweep(1000.0)
    assert await store.count() == 1


@ensureDeferred
async def test_what_has_expired_is_not_saved_to(store: Any) -> None:
    await store.save(KEY, {"old": "1"}, times(1000.0), LIMITS, True)
    assert await store.save(KEY, {"new": "2"}, times(1100.0), LIMITS, False) is False
    assert await store.touch(KEY, times(1100.0)) is False
    assert await store.save(KEY, {"new": "2"}, times(1100.0), LIMITS, True) is True
    record = await store.load(KEY, 1100.0)
    assert record.values == {"new": "2"}
    assert record.times.created_at == 1100.0
    assert await store.count() == 1


@ensureDeferred
async def test_touch(store: Any) -> None:
    assert await store.touch(KEY, times()) is False
    await store.save(KEY, {"a": "1"}, times(1000.0), LIMITS, True)
    assert await store.touch(KEY, times(math.nextafter(1100.0, 0), created=5.0)) is True
    record = await store.load(KEY, 1150.0)
    assert record.values == {"a": "1"}
    assert record.times.created_at == 1000.0
    assert record.times.last_accessed_at == math.nextafter(1100.0, 0)
    assert await store.count() == 1


@ensureDeferred
async def test_rename(store: Any) -> None:
    assert await store.rename(KEY, OTHER) is False
    await store.save(KEY, {"a": "1"}, times(), LIMITS, True)
    assert await store.rename(KEY, OTHER) is True
    assert await store.load(KEY, 1000.0) is None
    assert await texts(store, OTHER) == {"a": "1"}
    assert (await store.load(OTHER, 1000.0)).times == times()
    assert await store.count() == 1
    assert await store.save(KEY, {"late": "1"}, times(), LIMITS, False) is False
    assert await store.save(OTHER, {"b": "2"}, times(), LIMITS, False) is True
    assert await texts(store, OTHER) == {"a": "1", "b": "2"}


@ensureDeferred
async def test_rename_over_another(store: Any) -> None:
    await store.save(KEY, {"a": "1"}, times(), LIMITS, True)
    await store.save(OTHER, {"b": "2"}, times(), LIMITS, True)
    assert await store.rename(KEY, OTHER) is True
    assert await texts(store, OTHER) == {"a": "1"}
    assert await store.count() == 1
    assert await store.rename(OTHER, OTHER) is True
    assert await texts(store, OTHER) == {"a": "1"}
    assert await store.count() == 1


@ensureDeferred
async def test_what_is_renamed_expires_and_weighs_as_before(store: Any) -> None:
    limits = Limits(max_session_bytes=1024, max_sessions_bytes=1024)
    await store.save(KEY, {"a": "x" * 600}, times(1000.0), limits, True)
    await store.rename(KEY, OTHER)
    await store.save(KEY, {"a": "x" * 600}, times(1001.0), limits, True)
    assert store.evicted == 1
    assert await texts(store, OTHER) is None
    await store.rename(KEY, OTHER)
    assert await store.sweep(1101.0) == 1
    assert await store.count() == 0


@ensureDeferred
async def test_delete(store: Any) -> None:
    assert await store.delete(KEY) is False
    await store.save(KEY, {"a": "1"}, times(), LIMITS, True)
    await store.save(OTHER, {"b": "2"}, times(), LIMITS, True)
    assert await store.delete(KEY) is True
    assert await store.delete(KEY) is False
    assert await store.load(KEY, 1000.0) is None
    assert await texts(store, OTHER) == {"b": "2"}
    assert await store.count() == 1


@ensureDeferred
async def test_sweep(store: Any) -> None:
    for number in range(5):
        await store.save(b"%d" % number, {"a": "1"}, times(1000.0 + number), LIMITS, True)
    assert await store.count() == 5
    assert await store.sweep(1099.9) == 0
    assert await store.sweep(1102.0) == 3
    assert await store.count() == 2
    assert await texts(store, b"3") == {"a": "1"}
    assert await store.sweep(math.inf) == 2
    assert await store.count() == 0
    assert store.evicted == 0


@ensureDeferred
async def test_sweep_goes_by_the_last_touch(store: Any) -> None:
    await store.save(KEY, {}, times(1000.0), LIMITS, True)
    await store.touch(KEY, times(1050.0))
    assert await store.sweep(1100.0) == 0
    assert await store.sweep(1150.0) == 1


@ensureDeferred
async def test_sweep_of_many(store: Any) -> None:
    await gatherResults([store.save(b"%d" % n, {"n": "1"}, times(1000.0 + n), LIMITS, True) for n in range(1201)])
    assert await store.sweep(2299.0) == 1200
    assert await store.count() == 1


@ensureDeferred
async def test_close_and_use_again(store: Any) -> None:
    await store.save(KEY, {"a": "1"}, times(), LIMITS, True)
    unwaited = store.save(KEY, {"b": "2"}, times(), LIMITS, True)
    await store.close()
    assert unwaited.called
    await unwaited
    await store.close()
    assert await texts(store) == {"a": "1", "b": "2"}
    await store.close()


# -- bounds ----------------------------------------------------------------------------------


@ensureDeferred
async def test_session_bytes_at_the_bound(store: Any) -> None:
    limits = Limits(max_session_bytes=100)
    assert await store.save(KEY, {"ab": "x" * 98}, times(), limits, True) is True
    await store.save(KEY, {"ab": None}, times(), limits, True)
    assert await store.save(KEY, {"é": "€" * 32}, times(), limits, True) is True  # 2 + 96
    with pytest.raises(SessionTooLargeError, match=r"102.*100") as caught:
        await store.save(KEY, {"\U0001f36a": ""}, times(), limits, True)
    assert "\U0001f36a" not in str(caught.value)
    assert await store.save(KEY, {"ab": ""}, times(), limits, True) is True
    assert await texts(store) == {"é": "€" * 32, "ab": ""}


@ensureDeferred
async def test_session_bytes_past_the_bound(store: Any) -> None:
    limits = Limits(max_session_bytes=100)
    with pytest.raises(SessionTooLargeError):
        await store.save(KEY, {"a": "x" * 100}, times(), limits, True)
    assert await store.count() == 0
    await store.save(KEY, {"a": "x" * 50}, times(), limits, True)
    with pytest.raises(SessionTooLargeError):
        await store.save(KEY, {"a": None, "b": "y" * 100, "c": "1"}, times(1010), limits, True)
    record = await store.load(KEY, 1000.0)
    assert record.values == {"a": "x" * 50}
    assert record.times == times()  # left as it was
    # What replaces is weighed against what it replaces.
    assert await store.save(KEY, {"a": "y" * 99}, times(), limits, True) is True


@ensureDeferred
async def test_a_session_that_does_not_grow_is_not_refused(store: Any) -> None:
    await store.save(KEY, {"a": "x" * 200, "b": "1"}, times(), LIMITS, True)
    lowered = Limits(max_session_bytes=100)
    assert await store.save(KEY, {"b": None}, times(), lowered, True) is True
    assert await store.save(KEY, {}, times(), lowered, True) is True
    with pytest.raises(SessionTooLargeError):
        await store.save(KEY, {"b": "1"}, times(), lowered, True)


@ensureDeferred
async def test_a_session_larger_than_all_may_be_is_refused(store: Any) -> None:
    limits = Limits(max_session_bytes=4096, max_sessions_bytes=1024)
    await store.save(OTHER, {"a": "1"}, times(), limits, True)
    with pytest.raises(SessionTooLargeError):
        await store.save(KEY, {"a": "x" * 1024}, times(), limits, True)
    assert await store.count() == 1
    assert store.evicted == 0


@ensureDeferred
async def test_number_at_the_bound_and_past_it(store: Any) -> None:
    limits = Limits(max_sessions=3)
    for number in range(3):
        await store.save(b"%d" % number, {"n": "1"}, times(1000.0 + number), limits, True)
    await store.touch(b"0", times(1010.0))
    assert (await store.count(), store.evicted) == (3, 0)
    await store.save(b"1", {"m": "1"}, times(1011.0), limits, True)  # no new one
    assert (await store.count(), store.evicted) == (3, 0)
    await store.save(b"3", {"n": "1"}, times(1012.0), limits, True)
    assert (await store.count(), store.evicted) == (3, 1)
    assert [await texts(store, b"%d" % n) is not None for n in range(4)] == [True, True, False, True]
    await store.save(b"4", {"n": "1"}, times(1013.0), limits, True)
    assert [await texts(store, b"%d" % n) is not None for n in range(5)] == [False, True, False, True, True]
    assert store.evicted == 2


@ensureDeferred
async def test_bytes_of_all_at_the_bound_and_past_it(store: Any) -> None:
    limits = Limits(max_session_bytes=1024, max_sessions_bytes=1024)
    for number in range(4):
        await store.save(b"%d" % number, {"n": "x" * 255}, times(1000.0 + number), limits, True)
    assert (await store.count(), store.evicted) == (4, 0)
    await store.save(b"3", {"m": ""}, times(1004.0), limits, True)
    assert (await store.count(), store.evicted) == (3, 1)
    assert await store.load(b"0", 1000.0) is None
    await store.save(b"9", {"n": "x" * 900}, times(1005.0), limits, True)  # room for 124 more: all three go
    assert (await store.count(), store.evicted) == (1, 4)


@ensureDeferred
async def test_what_was_removed_no_longer_counts(store: Any) -> None:
    limits = Limits(max_session_bytes=1024, max_sessions_bytes=1024)
    for number in range(20):
        key = b"%d" % number
        await store.save(key, {"n": "x" * 500, "m": "y" * 500}, times(1000.0), limits, True)
        await store.save(key, {"n": None}, times(1000.0), limits, True)
        await store.save(key, {"m": "y"}, times(1000.0), limits, True)
        if number % 3 == 0:
            await store.delete(key)
        elif number % 3 == 1:
            await store.sweep(1100.0)
        else:
            await store.save(key, {"k": ""}, times(1200.0), limits, True)  # anew
            await store.sweep(math.inf)
    assert (await store.count(), store.evicted) == (0, 0)


@ensureDeferred
async def test_a_bound_that_was_lowered_holds_after_the_next_save(store: Any) -> None:
    saves = [store.save(b"%d" % n, {"n": "1"}, times(1000.0 + n), LIMITS, True) for n in range(1300)]
    await gatherResults(saves)
    await store.save(KEY, {}, times(3000.0), Limits(max_sessions=5), True)
    assert (await store.count(), store.evicted) == (5, 1296)
    assert await texts(store, b"1299") == {"n": "1"}
    assert await texts(store, b"1295") is None


@ensureDeferred
async def test_the_one_just_saved_is_the_last_to_go(store: Any) -> None:
    limits = Limits(max_sessions=1)
    await store.save(OTHER, {}, times(2000.0), limits, True)
    await store.save(KEY, {"a": "1"}, times(1999.0), limits, True)  # another machine's clock is behind
    assert await texts(store, KEY, 1999.0) == {"a": "1"}
    assert (await store.count(), store.evicted) == (1, 1)


# -- at the same time ------------------------------------------------------------------------


@ensureDeferred
async def test_saves_at_once_lose_nothing(store: Any) -> None:
    await store.save(KEY, {}, times(), LIMITS, True)
    saves = [store.save(KEY, {f"key{n}": str(n)}, times(), LIMITS, False) for n in range(50)]
    assert await gatherResults(saves) == [True] * 50
    assert await texts(store) == {f"key{n}": str(n) for n in range(50)}


@ensureDeferred
async def test_a_late_save_does_not_bring_back_what_was_deleted(store: Any) -> None:
    for _ in range(20):
        await store.save(KEY, {"a": "1"}, times(), LIMITS, True)
        answers = await gatherResults(
            [
                store.save(KEY, {"b": "2"}, times(), LIMITS, False),
                store.delete(KEY),
                store.save(KEY, {"c": "3"}, times(), LIMITS, False),
                store.touch(KEY, times()),
            ]
        )
        assert answers == [True, True, False, False]
        assert await store.load(KEY, 1000.0) is None
    assert await store.count() == 0


@ensureDeferred
async def test_one_that_is_refused_costs_the_others_nothing(store: Any) -> None:
    limits = Limits(max_session_bytes=100)
    saves = [
        store.save(b"%d" % n, {"a": "x" * (200 if n % 3 == 0 else 20)}, times(), limits, True).addErrback(
            lambda failure: failure.trap(SessionTooLargeError)
        )
        for n in range(30)
    ]
    answers = await gatherResults(saves)
    assert [answer is True for answer in answers] == [n % 3 != 0 for n in range(30)]
    assert await store.count() == 20


@ensureDeferred
async def test_a_call_given_up_disturbs_no_other(store: Any) -> None:
    saves = [store.save(b"%d" % n, {"a": "1"}, times(), LIMITS, True) for n in range(10)]
    given_up = [save.addErrback(lambda _: None) for save in saves[::2]]
    for save in given_up:
        save.cancel()
    assert await gatherResults(saves[1::2]) == [True] * 5
    assert [await texts(store, b"%d" % n) for n in range(1, 10, 2)] == [{"a": "1"}] * 5


# -- what is stored --------------------------------------------------------------------------


@ensureDeferred
async def test_any_text_comes_back(store: Any) -> None:
    wild = dict(zip(HOSTILE, reversed(HOSTILE), strict=True))
    await store.save(KEY, wild, times(), LIMITS, True)
    await store.save(OTHER, {"a": "1"}, times(), LIMITS, True)
    assert await texts(store) == wild
    for key in HOSTILE:
        await store.save(KEY, {key: None}, times(), LIMITS, False)
        del wild[key]
        assert await texts(store) == wild
    assert await texts(store, OTHER) == {"a": "1"}


@pytest.mark.parametrize(
    "key", [b"\0", b"a", b"accessed", b"sizes", b"s:a", b"\r\n", b"'", bytes(range(256)), b"*", b"%"]
)
@ensureDeferred
async def test_any_key_will_do(store: Any, key: bytes) -> None:
    await store.save(key, {"a": "1"}, times(), LIMITS, True)
    await store.save(key + key, {"a": "2"}, times(), LIMITS, True)
    assert await texts(store, key) == {"a": "1"}
    assert await store.rename(key, b"elsewhere") is True
    assert await store.delete(key + key) is True
    assert await texts(store, b"elsewhere") == {"a": "1"}
    assert await store.count() == 1


@ensureDeferred
async def test_large_values_come_back_whole(store: Any) -> None:
    limits = attrs.evolve(LIMITS, max_session_bytes=4 * 1024 * 1024)
    large = json.dumps("\r\n\0é" * 200_000, ensure_ascii=False)
    await store.save(KEY, {"large": large, "small": "1"}, times(), limits, True)
    assert await texts(store) == {"large": large, "small": "1"}


@ensureDeferred
async def test_many_keys_come_back(store: Any) -> None:
    many = {f"key{n}": str(n) for n in range(3000)}
    await store.save(KEY, many, times(), LIMITS, True)
    assert await texts(store) == many


@ensureDeferred
async def test_nothing_that_is_kept_is_in_a_repr(store: Any) -> None:
    await store.save(KEY, {"secretname": '"secrettext"'}, times(), LIMITS, True)
    record = await store.load(KEY, 1000.0)
    for shown in (repr(store), str(store), repr(record)):
        assert "secret" not in shown
        assert KEY.hex() not in shown
        assert repr(KEY) not in shown


@ensureDeferred
async def test_two_stores_of_a_kind_are_two(new_store: Callable[[], Any]) -> None:
    first, second = new_store(), new_store()
    await first.save(KEY, {"a": "1"}, times(), LIMITS, True)
    assert await second.load(KEY, 1000.0) is None
