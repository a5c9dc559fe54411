"""Which events cause messages, and when they are retried."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shop.notification import domain

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_each_event_causes_one_mail_to_its_customer(samples: Any) -> None:
    for event in samples.each():
        (notice,) = domain.notices(event, "")
        assert (notice.channel, notice.user_id) == ("email", samples.user_id)
        assert notice.template == domain.MAIL_TEMPLATES[type(event)]


def test_a_refund_event_has_no_address(samples: Any) -> None:
    assert domain.notices(samples.refunded(), "")[0].recipient is None
    assert domain.contact(samples.refunded()) is None
    assert domain.notices(samples.confirmed(), "")[0].recipient == samples.email


def test_only_a_late_rejection_causes_a_mail(samples: Any) -> None:
    assert domain.notices(samples.rejected(late=False), "+491") == ()
    mail, alert = domain.notices(samples.rejected(late=True), "+491")
    assert mail.channel == "email"
    assert (alert.channel, alert.recipient, alert.user_id) == ("sms", "+491", None)


def test_retries_back_off_and_end() -> None:
    waits = []
    for attempts in range(1, domain.MAX_ATTEMPTS):
        again = domain.next_attempt(attempts, NOW)
        assert again is not None
        waits.append((again - NOW).total_seconds())
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (domain.RETRY_FIRST_S, domain.RETRY_MAX_S)
    assert domain.next_attempt(domain.MAX_ATTEMPTS, NOW) is None
