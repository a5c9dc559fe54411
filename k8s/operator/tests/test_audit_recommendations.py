"""The oracle about recommendations, beside what test_audit_oracles.py shows of all."""

import nats

from k8s.operator.tests.audit_learning import run_on_recommendation
from k8s.operator.tests.audit_sound import Sound, violations
from shop.kit.ids import new_id
from shop.operator.audit.model import Options
from shop.operator.audit.run import ORACLES, Target, audit
from shop.operator.local import audit_target


async def test_deleted_customers_are_not_learned_from(sound: Sound) -> None:
    """The stream of users is made here, and is empty again at the end: other tests know no deleted customer."""
    records, user = sound.records, sound.confirmed.user
    client = await nats.connect(records.target.nats_url)
    await client.jetstream().add_stream(name="user", subjects=["user.>"])
    await records.publish(new_id(), "user.deleted.v1", {"user_id": str(user)})
    settled = Options(settle_s=0)
    assert (await violations(records, settled))[17] == [str(sound.confirmed.order), str(user)]
    for sql in ("DELETE FROM purchases", "UPDATE models SET orders = 0", "DELETE FROM customers WHERE user_id = $1"):
        await records.run("recommendation", sql, *([user] if "$1" in sql else []))
    assert 17 not in await violations(records, settled)
    await client.jetstream().delete_stream("user")
    await client.close()


async def test_shop_without_recommendations_is_not_asked_about_them(sound: Sound) -> None:
    databases = {noun: url for noun, url in sound.records.target.databases.items() if noun != "recommendation"}
    [oracle] = [one for one in ORACLES if one.number == 17]
    [result] = await audit(Target(databases, sound.records.target.nats_url), Options(), oracles=[oracle], pause_s=0)
    assert (result.ok, result.checked) == (True, 0)


async def test_service_that_was_turned_off_is_left_out(sound: Sound) -> None:
    await run_on_recommendation(sound, "DELETE FROM purchases")
    assert 17 in await violations(sound.records)
    databases = sound.records.target.databases
    elsewhere = audit_target.elsewhere("postgresql://x/{noun}", sound.records.target.nats_url, ["recommendation"])
    assert elsewhere.databases.keys() == databases.keys() - {"recommendation"}
    assert await violations(sound.records, Options(), without=["recommendation"]) == {}


async def test_late_event_of_a_deleted_customer_is_not_missed(sound: Sound) -> None:
    """The stream of users has forgotten the deletion, and recommendation remembers the digest."""
    await run_on_recommendation(sound, "DELETE FROM purchases")
    await run_on_recommendation(sound, "UPDATE models SET orders = 0")
    sql = "INSERT INTO deleted_customers (digest, deleted_at) VALUES (sha256(uuid_send($1::uuid)), now())"
    await run_on_recommendation(sound, sql, sound.confirmed.user)
    assert await violations(sound.records) == {}
