"""What user counts."""

from __future__ import annotations

from prometheus_client import Counter

from shop.kit.exposition import start_at_zero

REGISTRATIONS = Counter("shop_user_registrations_total", "Users that registered")
SIGN_INS = Counter("shop_user_sign_ins_total", "Tries to sign in by their result", ["result"])
start_at_zero(SIGN_INS, ["done", "refused"])
