"""What is removed of tickets that ended long ago: how they went. The tickets themselves are kept."""

from __future__ import annotations

from datetime import timedelta

from shop.kit.retention import Rule, of_ended

REMOVE_TRANSITIONS = of_ended("tickets", ("rejected", "picked_up", "cancelled"), "ticket_transitions")


def rule(keep: timedelta) -> Rule:
    return Rule("ticket-history", keep, REMOVE_TRANSITIONS)
