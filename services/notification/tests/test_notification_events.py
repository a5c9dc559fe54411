"""From the broker to the mail server: one mail per event, whatever the broker does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from shop.devkit.testing import wait_until
from shop.kit import events


async def test_each_event_gives_one_mail_to_its_customer(station: Any, office: Any, samples: Any) -> None:
    rows = await station.tell(*samples.each())
    await station.taken(rows)
    await station.settled()
    assert {str(mail["To"]) for mail in office.mails} == {samples.email}
    kept = await station.database.fetch("SELECT template, state, subject, body_text, body_html FROM notifications")
    assert {row["state"] for row in kept} == {"sent"}
    assert sorted(row["subject"] for row in kept) == sorted(office.subjects())
    assert {row["template"] for row in kept} >= {"welcome", "order-confirmed", "order-rejected", "payment-refunded"}
    assert all(row["body_text"] and row["body_html"] for row in kept)


async def test_mail_to_a_domain_in_any_script_arrives(station: Any, office: Any, samples: Any) -> None:
    samples.email = "a@münchen.de"
    await station.taken(await station.tell(samples.registered(), samples.confirmed()))
    await station.settled()
    assert [str(mail["To"]) for mail in office.mails] == ["a@xn--mnchen-3ya.de"] * 2
    kept = await station.database.fetch("SELECT state, recipient FROM notifications")
    assert {(row["state"], row["recipient"]) for row in kept} == {("sent", "a@münchen.de")}


async def test_a_repeated_event_gives_one_mail(station: Any, office: Any, samples: Any) -> None:
    row = events.row(samples.confirmed())
    await station.deliver([row, row])
    await station.taken([row])
    await station.settled()
    await station.deliver([row, events.row(samples.delivered()), row])
    await wait_until(lambda: len(office.raw) >= 2)
    await station.settled()
    assert Counter(office.subjects()).most_common(1)[0][1] == 1
    assert len(office.raw) == 2


async def test_an_event_that_the_inbox_forgot_gives_no_second_mail(station: Any, office: Any, samples: Any) -> None:
    row = events.row(samples.confirmed())
    await station.deliver([row])
    await station.taken([row])
    await station.settled()
    await station.database.execute("DELETE FROM inbox")
    await station.deliver([row])
    await station.taken([row])
    await station.settled()
    assert (await station.count(), len(office.raw)) == (1, 1)


async def test_an_outcome_that_overtakes_the_promise_makes_it_pointless(
    station: Any, office: Any, samples: Any
) -> None:
    first = await station.tell(samples.confirmed())
    await station.taken(first)
    late = await station.tell(samples.pending())
    await station.taken(late)
    await station.settled()
    assert [row["template"] for row in await station.database.fetch("SELECT template FROM notifications")] == [
        "order-confirmed"
    ]
    assert len(office.raw) == 1


async def test_a_refund_that_comes_first_waits_for_the_address(station: Any, office: Any, samples: Any) -> None:
    early = await station.tell(samples.refunded())
    await station.taken(early)

    async def tried() -> bool:
        return bool(await station.count("attempts > 0 AND error LIKE '%not known%'"))

    await wait_until(tried)
    known = await station.tell(samples.registered())
    await station.taken(known)
    await station.settled()
    assert sorted(office.subjects()) == ["Welcome to Shopkeeper", "Your refund of 27,35 €"]
    assert {str(mail["To"]) for mail in office.mails} == {samples.email}


async def test_the_latest_address_is_used_whatever_the_order(station: Any, samples: Any) -> None:
    later = samples.registered().occurred_at.replace(hour=20)
    rows = await station.tell(samples.confirmed(email="new@example.com", occurred_at=later))
    await station.taken(rows)
    await station.taken(await station.tell(samples.registered()))
    assert await station.database.fetchval("SELECT email FROM contacts") == "new@example.com"


async def test_a_rejection_without_promise_gives_no_mail(station: Any, samples: Any) -> None:
    await station.taken(await station.tell(samples.rejected(late=False)))
    assert await station.count() == 0


async def test_a_poison_event_is_set_aside_and_stops_nobody(
    station: Any, office: Any, samples: Any, more_samples: Any
) -> None:
    unreadable = events.row(samples.confirmed())
    envelope = orjson.loads(unreadable.payload)
    del envelope["data"]["lines"]
    await station.put(unreadable.type, orjson.dumps(envelope))
    rows = await station.tell(more_samples().confirmed())
    await station.taken(rows)
    await station.settled()
    dead = await station.database.fetch("SELECT event_id, error FROM dead_letter WHERE dead_at IS NOT NULL")
    assert [row["event_id"] for row in dead] == [unreadable.event_id]
    assert "lines" in dead[0]["error"]
    assert len(office.raw) == 1


async def test_an_event_that_cannot_be_stored_is_set_aside_after_its_tries(
    station: Any, office: Any, samples: Any, more_samples: Any
) -> None:
    poison, good = events.row(samples.confirmed(customer_name="\x00")), events.row(more_samples().confirmed())
    await station.deliver([poison, good])
    await station.taken([good])

    async def buried() -> bool:
        sql = "SELECT count(*) FROM dead_letter WHERE event_id = $1 AND dead_at IS NOT NULL"
        return bool(await station.database.fetchval(sql, poison.event_id))

    await wait_until(buried, 60)
    await station.settled()
    assert (await station.count(), len(office.raw)) == (1, 1)


async def test_events_told_while_the_service_was_away_are_not_lost(
    start_station: Any, office: Any, samples: Any, more_samples: Any
) -> None:
    async with start_station(smtp_url=office.url) as station:
        await station.taken(await station.tell(samples.confirmed()))
        await station.settled()
        bus = station.bus
        row = events.row(more_samples().confirmed())
    async with start_station(smtp_url=office.url) as station:
        assert bus is not station.bus
        await station.deliver([row])
        await station.taken([row])
        await station.settled()
    assert len(office.raw) == 2


async def test_a_burst_is_sent_over_few_connections(station: Any, office: Any, more_samples: Any) -> None:
    rows = await station.tell(*(more_samples().confirmed() for _ in range(150)))
    await station.taken(rows)
    await station.settled()
    assert len({str(mail["Message-ID"]) for mail in office.mails}) == len(office.raw) == 150
    assert office.connections <= 4


async def test_the_trace_of_the_cause_is_kept(station: Any, samples: Any) -> None:
    trace = "ab" * 16
    row = events.row(samples.confirmed(), f"00-{trace}-{'cd' * 8}-01")
    await station.deliver([row])
    await station.taken([row])
    assert await station.database.fetchval("SELECT trace_id FROM notifications") == trace
