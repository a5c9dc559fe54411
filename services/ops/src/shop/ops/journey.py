"""The journey of one order as its shop's owner tells it: one timeline of what the services say and did.

Pure functions over what the services answered and over the kept spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from shop.contracts.money import Money
from shop.contracts.order_history import History, SagaStep
from shop.kit.currencies import major_units
from shop.ops.backends import Message, Order, Payment
from shop.ops.model import Span


class Source(StrEnum):
    """Who says so."""

    ORDER = "order"
    STEP = "step"
    PAYMENT = "payment"
    MESSAGE = "message"
    EVENT = "event"


class Tone(StrEnum):
    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened, in a sentence; ``detail`` says more where there is more."""

    at: datetime
    source: Source
    title: str
    detail: str = ""
    tone: Tone = Tone.PLAIN


DONE: Mapping[tuple[str, str], str] = {
    ("reserve", "action"): "Stock was set aside",
    ("reserve", "compensation"): "Stock was released again",
    ("quote", "action"): "The price was calculated",
    ("quote", "compensation"): "The coupon was given back",
    ("charge", "action"): "The card was charged",
    ("charge", "compensation"): "The payment was undone",
    ("accept", "action"): "The restaurant accepted",
    ("accept", "compensation"): "The kitchen's ticket was withdrawn",
    ("reserve_courier", "action"): "A courier was found",
    ("reserve_courier", "compensation"): "The courier was released",
    ("assign", "action"): "The delivery was handed to the courier",
    ("assign", "compensation"): "The delivery was cancelled",
}
"""By step and phase."""
STATES: Mapping[str, tuple[str, Tone]] = {
    "pending": ("The order is being processed", Tone.PLAIN),
    "confirmed": ("The order is confirmed", Tone.GOOD),
    "fulfilled": ("The order is on its way", Tone.GOOD),
    "delivered": ("The order was delivered", Tone.GOOD),
    "rejected": ("The order was rejected", Tone.BAD),
    "cancelled": ("The order was cancelled", Tone.BAD),
}
OUTCOMES: Mapping[str, tuple[str, Tone]] = {
    "rejected": ("was refused", Tone.BAD),
    "unavailable": ("could not be tried: the service was away", Tone.WARN),
    "unknown": ("had no answer, and is tried again", Tone.WARN),
}
PAYMENT_STATES: Mapping[str, tuple[str, Tone]] = {
    "captured": ("Payment received", Tone.GOOD),
    "declined": ("Payment declined", Tone.BAD),
    "voided": ("Payment ended without taking money", Tone.PLAIN),
    "refunded": ("Payment refunded", Tone.PLAIN),
    "partially_refunded": ("Payment refunded in part", Tone.PLAIN),
    "pending": ("The payment provider has not answered yet", Tone.WARN),
}
MESSAGE_STATES: Mapping[str, tuple[str, Tone]] = {
    "sent": ("was sent", Tone.GOOD),
    "failed": ("could not be sent", Tone.BAD),
    "queued": ("waits to be sent", Tone.WARN),
}
CHANNELS: Mapping[str, str] = {"email": "Email", "sms": "Text message"}


def journey(
    order: Order, history: History, payments: Sequence[Payment], messages: Sequence[Message], spans: Sequence[Span]
) -> list[Moment]:
    """Everything that is known of the order, in the order of time."""
    moments = [
        _placed(order),
        *map(_step, history.steps),
        *_states(order, history),
        *map(_payment, payments),
        *map(_message, messages),
        *_events(spans),
    ]
    return sorted(moments, key=lambda moment: moment.at)


def in_words(money: Money) -> str:
    """Such as 12.99 EUR."""
    return f"{major_units(money.amount, money.currency)} {money.currency}"


def _placed(order: Order) -> Moment:
    pieces = sum(line.quantity for line in order.lines)
    names = ", ".join(f"{line.quantity} × {line.name}" for line in order.lines if line.name)
    return Moment(order.created_at, Source.ORDER, f"The order was placed: {pieces} pieces", names)


def _step(step: SagaStep) -> Moment:
    done = DONE.get((step.step, step.phase), f"Step {step.step} ({step.phase})")
    took = f"{step.seconds * 1_000:.0f} ms"
    if step.outcome == "done":
        tone = Tone.GOOD if step.phase == "action" else Tone.PLAIN
        return Moment(step.at, Source.STEP, done, took, tone)
    said, tone = OUTCOMES.get(step.outcome, (step.outcome, Tone.WARN))
    times = f", {step.times} times" if step.times > 1 else ""
    return Moment(step.at, Source.STEP, f"Step {step.step} {said}{times}", step.detail or took, tone)


def _states(order: Order, history: History) -> Iterator[Moment]:
    for change in history.transitions:
        title, tone = STATES.get(change.to_state, (f"The order is {change.to_state}", Tone.PLAIN))
        reason = (order.reason or "") if change.to_state == order.state else ""
        yield Moment(change.at, Source.ORDER, title, reason.replace("_", " "), tone)


def _payment(payment: Payment) -> Moment:
    title, tone = PAYMENT_STATES.get(payment.state, (f"Payment {payment.state}", Tone.PLAIN))
    refunded = f"{in_words(payment.refunded)} given back" if payment.refunded.amount else ""
    declined = (payment.decline_code or "").replace("_", " ")
    at = payment.updated_at if refunded else payment.created_at
    return Moment(at, Source.PAYMENT, f"{title}: {in_words(payment.amount)}", refunded or declined, tone)


def _message(message: Message) -> Moment:
    said, tone = MESSAGE_STATES.get(message.state, (message.state, Tone.PLAIN))
    channel = CHANNELS.get(message.channel, message.channel)
    kind = message.template.replace("-", " ")
    return Moment(
        message.sent_at or message.created_at, Source.MESSAGE, f"{channel} “{kind}” {said}", message.error or "", tone
    )


def _events(spans: Iterable[Span]) -> Iterator[Moment]:
    """One for each event that was sent, with the services that took it."""
    sent: dict[str, Span] = {}
    takers: dict[str, list[str]] = {}
    for span in sorted(spans, key=lambda span: span.began_ns):
        event = str(span.attributes.get("messaging.message.id", ""))
        if not event:
            continue
        if span.kind == "producer":
            sent[event] = span
        elif span.kind == "consumer" and not span.error:
            takers.setdefault(event, []).append(span.service)
    for event, span in sent.items():
        kind = str(span.attributes.get("messaging.destination.name", span.name))
        taken = ", ".join(dict.fromkeys(takers.get(event, [])))
        at = datetime.fromtimestamp(span.ended_ns / 1e9, UTC)
        yield Moment(at, Source.EVENT, f"Event published: {kind}", f"taken by {taken}" if taken else "")
