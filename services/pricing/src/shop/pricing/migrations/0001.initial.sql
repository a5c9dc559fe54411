CREATE TABLE promotions (
    code             text PRIMARY KEY CHECK (code ~ '^[A-Z0-9_-]{3,32}$'),
    kind             text NOT NULL CHECK (kind IN ('percentage', 'fixed')),
    value            bigint NOT NULL CHECK (value > 0 AND (kind = 'fixed' OR value <= 100)),
    minimum_subtotal bigint NOT NULL DEFAULT 0 CHECK (minimum_subtotal >= 0),
    starts_at        timestamptz,
    expires_at       timestamptz,
    usage_limit      bigint CHECK (usage_limit > 0),
    once_per_user    boolean NOT NULL DEFAULT false,
    active           boolean NOT NULL DEFAULT true,
    used             bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL
);

-- One row per order that redeemed a coupon, with the rule that it saw. A row without code is the tombstone of an
-- order that was released before it redeemed anything. Invariant: promotions.used = redemptions not released.
CREATE TABLE redemptions (
    order_id      uuid PRIMARY KEY,
    code          text REFERENCES promotions (code),
    user_id       uuid,
    kind          text,
    value         bigint,
    once_per_user boolean NOT NULL DEFAULT false,
    redeemed_at   timestamptz,
    released_at   timestamptz,
    CHECK (released_at IS NOT NULL OR (code IS NOT NULL AND user_id IS NOT NULL))
);

CREATE INDEX redemptions_of_user ON redemptions (code, user_id) WHERE released_at IS NULL;
CREATE UNIQUE INDEX redemptions_once_per_user ON redemptions (code, user_id)
    WHERE once_per_user AND released_at IS NULL;
