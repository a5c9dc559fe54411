"""The oracle about boards in the cache, beside what test_audit_oracles.py shows of all."""

from k8s.operator.tests.audit_arcade import cache_of
from k8s.operator.tests.audit_arcade_breaks import cached_player_who_is_not_on_the_board
from k8s.operator.tests.audit_sound import Sound, violations
from shop.operator.audit.model import Options
from shop.operator.audit.run import ORACLES, Target, audit_over, wait_until_ended

BOARDS = [oracle for oracle in ORACLES if oracle.number == 26]
AWAY = "redis://127.0.0.1:1/0"


async def checked(sound: Sound, target: Target | None = None) -> tuple[bool, int]:
    where = target or sound.records.target
    [result] = await audit_over(sound.records.connections, where, Options(settle_s=0), oracles=BOARDS, pause_s=0)
    return result.ok, result.checked


async def test_player_who_is_only_in_the_cache_is_named(sound: Sound) -> None:
    """The number of ranks is wrong as well."""
    offender = await cached_player_who_is_not_on_the_board(sound)
    assert set((await violations(sound.records))[26]) == {offender, "stack all"}


async def test_empty_cache_is_late_and_not_broken(sound: Sound) -> None:
    assert await wait_until_ended(sound.records.target, 0) == []
    async with cache_of(sound.records) as cache:
        await cache.flushall()
    assert await checked(sound) == (True, 0)
    [late] = await wait_until_ended(sound.records.target, 0)
    assert late.startswith("3 boards that are not cached (")


async def test_board_of_an_earlier_epoch_or_server_is_not_compared(sound: Sound) -> None:
    await cached_player_who_is_not_on_the_board(sound)
    await sound.records.run("leaderboard", "UPDATE boards SET epoch = epoch + 1")
    assert await checked(sound) == (True, 0)
    await sound.records.run("leaderboard", "UPDATE boards SET epoch = epoch - 1")
    assert not (await checked(sound))[0]
    async with cache_of(sound.records) as cache:
        for key in [one async for one in cache.scan_iter("leaderboard:*all}")]:
            await cache.hset(key, "server", "another")
    assert await checked(sound) == (True, 0)


async def test_cache_that_does_not_answer_fails_its_oracle(sound: Sound) -> None:
    target = sound.records.target
    away = Target(target.databases, target.nats_url, cache_url=AWAY)
    assert await checked(sound, away) == (False, 0)
    [late] = await wait_until_ended(away, 0)
    assert "the cache, which does not answer" in late


async def test_boards_are_not_compared_where_the_cache_is_not_known(sound: Sound) -> None:
    target = Target(sound.records.target.databases, sound.records.target.nats_url)
    assert await checked(sound, target) == (True, 0)
