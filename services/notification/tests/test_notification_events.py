"""From the broker to the mail server: one mail per event."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from shop.devkit.testing import wait_until
from shop.kit import events


async def test_each_event_gives_one_mail_to_its_customer(service: Any, smtp: Any, samples: Any) -> None:
    rows = await service.publish(*samples.each())
    await service.wait_until_taken(rows)
    await service.wait_until_sent()
    assert {str(mail["To"]) for mail in smtp.mails} == {samples.email}
    kept = await service.database.fetch("SELECT template, state, subject, body_text, body_html FROM notifications")
    assert {row["state"] for row in kept} == {"sent"}
    assert sorted(row["subject"] for row in kept) == sorted(smtp.subjects())
    assert {row["template"] for row in kept} >= {"welcome", "order-confirmed", "order-rejected", "payment-refunded"}
    assert all(row["body_text"] and row["body_html"] for row in kept)


async def test_mail_to_a_domain_in_any_script_arrives(service: Any, smtp: Any, samples: Any) -> None:
    samples.email = "a@münchen.de"
    await service.wait_until_taken(await service.publish(samples.registered(), samples.confirmed()))
    await service.wait_until_sent()
    assert [str(mail["To"]) for mail in smtp.mails] == ["a@xn--mnchen-3ya.de"] * 2
    kept = await service.database.fetch("SELECT state, recipient FROM notifications")
    assert {(row["state"], row["recipient"]) for row in kept} == {("sent", "a@münchen.de")}


async def test_a_repeated_event_gives_one_mail(service: Any, smtp: Any, samples: Any) -> None:
    row = events.row(samples.confirmed())
    await service.publish_rows([row, row])
    await service.wait_until_taken([row])
    await service.wait_until_sent()
    await service.publish_rows([row, events.row(samples.delivered()), row])
    await wait_until(lambda: len(smtp.raw) >= 2)
    await service.wait_until_sent()
    assert Counter(smtp.subjects()).most_common(1)[0][1] == 1
    assert len(smtp.raw) == 2


async def test_an_event_that_is_consumed_again_causes_no_second_mail(service: Any, smtp: Any, samples: Any) -> None:
    row = events.row(samples.confirmed())
    await service.publish_rows([row])
    await service.wait_until_taken([row])
    await service.wait_until_sent()
    await service.database.execute("DELETE FROM inbox")
    await service.publish_rows([row])
    await service.wait_until_taken([row])
    await service.wait_until_sent()
    assert (await service.count(), len(smtp.raw)) == (1, 1)


async def test_no_pending_mail_after_the_outcome(service: Any, smtp: Any, samples: Any) -> None:
    first = await service.publish(samples.confirmed())
    await service.wait_until_taken(first)
    late = await service.publish(samples.pending())
    await service.wait_until_taken(late)
    await service.wait_until_sent()
    assert [row["template"] for row in await service.database.fetch("SELECT template FROM notifications")] == [
        "order-confirmed"
    ]
    assert len(smtp.raw) == 1


async def test_a_refund_that_comes_first_waits_for_the_address(service: Any, smtp: Any, samples: Any) -> None:
    early = await service.publish(samples.refunded())
    await service.wait_until_taken(early)

    async def tried() -> bool:
        return bool(await service.count("attempts > 0 AND error LIKE '%not known%'"))

    await wait_until(tried)
    known = await service.publish(samples.registered())
    await service.wait_until_taken(known)
    await service.wait_until_sent()
    assert sorted(smtp.subjects()) == ["Welcome to Shopkeeper", "Your refund of 27,35 €"]
    assert {str(mail["To"]) for mail in smtp.mails} == {samples.email}


async def test_the_latest_address_is_used_whatever_the_order(service: Any, samples: Any) -> None:
    later = samples.registered().occurred_at.replace(hour=20)
    rows = await service.publish(samples.confirmed(email="new@example.com", occurred_at=later))
    await service.wait_until_taken(rows)
    await service.wait_until_taken(await service.publish(samples.registered()))
    assert await service.database.fetchval("SELECT email FROM contacts") == "new@example.com"


async def test_an_immediate_rejection_causes_no_mail(service: Any, samples: Any) -> None:
    await service.wait_until_taken(await service.publish(samples.rejected(late=False)))
    assert await service.count() == 0


async def test_an_unreadable_event_is_dead_lettered_and_blocks_no_other(
    service: Any, smtp: Any, samples: Any, more_samples: Any
) -> None:
    unreadable = events.row(samples.confirmed())
    envelope = orjson.loads(unreadable.payload)
    del envelope["data"]["lines"]
    await service.publish_payload(unreadable.type, orjson.dumps(envelope))
    rows = await service.publish(more_samples().confirmed())
    await service.wait_until_taken(rows)
    await service.wait_until_sent()
    dead = await service.database.fetch("SELECT event_id, error FROM dead_letter WHERE dead_at IS NOT NULL")
    assert [row["event_id"] for row in dead] == [unreadable.event_id]
    assert "lines" in dead[0]["error"]
    assert len(smtp.raw) == 1


async def test_an_event_that_cannot_be_stored_is_dead_lettered_after_retries(
    service: Any, smtp: Any, samples: Any, more_samples: Any
) -> None:
    poison, good = events.row(samples.confirmed(customer_name="\x00")), events.row(more_samples().confirmed())
    await service.publish_rows([poison, good])
    await service.wait_until_taken([good])

    async def dead_lettered() -> bool:
        sql = "SELECT count(*) FROM dead_letter WHERE event_id = $1 AND dead_at IS NOT NULL"
        return bool(await service.database.fetchval(sql, poison.event_id))

    await wait_until(dead_lettered, 60)
    await service.wait_until_sent()
    assert (await service.count(), len(smtp.raw)) == (1, 1)


async def test_events_published_while_the_service_was_down_are_not_lost(
    start_service: Any, smtp: Any, samples: Any, more_samples: Any
) -> None:
    async with start_service(smtp_url=smtp.url) as service:
        await service.wait_until_taken(await service.publish(samples.confirmed()))
        await service.wait_until_sent()
        bus = service.bus
        row = events.row(more_samples().confirmed())
    async with start_service(smtp_url=smtp.url) as service:
        assert bus is not service.bus
        await service.publish_rows([row])
        await service.wait_until_taken([row])
        await service.wait_until_sent()
    assert len(smtp.raw) == 2


async def test_a_burst_is_sent_over_few_connections(service: Any, smtp: Any, more_samples: Any) -> None:
    rows = await service.publish(*(more_samples().confirmed() for _ in range(150)))
    await service.wait_until_taken(rows)
    await service.wait_until_sent()
    assert len({str(mail["Message-ID"]) for mail in smtp.mails}) == len(smtp.raw) == 150
    assert smtp.connections <= 4


async def test_the_trace_id_of_the_event_is_kept(service: Any, samples: Any) -> None:
    trace = "ab" * 16
    row = events.row(samples.confirmed(), f"00-{trace}-{'cd' * 8}-01")
    await service.publish_rows([row])
    await service.wait_until_taken([row])
    assert await service.database.fetchval("SELECT trace_id FROM notifications") == trace


async def test_a_deleted_user_gets_a_last_mail_and_nothing_else_stays(
    service: Any, smtp: Any, samples: Any, more_samples: Any
) -> None:
    other = more_samples()
    await service.wait_until_taken(await service.publish(samples.registered(), samples.confirmed(), other.registered()))
    await service.wait_until_sent()
    await service.wait_until_taken(await service.publish(samples.deleted()))
    await service.wait_until_sent()
    last = smtp.mails[-1]
    assert (str(last["Subject"]), str(last["To"])) == ("Your account was deleted", samples.email)
    assert await service.count(f"user_id = '{samples.user_id}'") == 0
    kept = await service.database.fetch("SELECT user_id FROM contacts")
    assert [row["user_id"] for row in kept] == [other.user_id]
    assert await service.count(f"user_id = '{other.user_id}'") == 1


async def test_a_deletion_that_is_repeated_causes_one_mail(service: Any, smtp: Any, samples: Any) -> None:
    await service.wait_until_taken(await service.publish(samples.registered()))
    row = events.row(samples.deleted())
    await service.publish_rows([row, row])
    await service.wait_until_taken([row])
    await service.wait_until_taken(await service.publish(samples.deleted()))
    await service.wait_until_sent()
    assert smtp.subjects().count("Your account was deleted") == 1


async def test_a_queued_mail_is_sent_although_its_user_is_deleted(start_service: Any, smtp: Any, samples: Any) -> None:
    await smtp.stop()
    async with start_service(smtp_url=smtp.url) as service:
        await service.wait_until_taken(await service.publish(samples.confirmed()))
        await service.wait_until_taken(await service.publish(samples.deleted()))
        await smtp.start()
        await service.wait_until_sent()
    assert {str(mail["To"]) for mail in smtp.mails} == {samples.email}
    assert len(smtp.mails) == 2
