CREATE TABLE users (
    id            uuid PRIMARY KEY,
    email         text NOT NULL UNIQUE CHECK (email = lower(email) AND length(email) <= 254),
    name          text NOT NULL,
    role          text NOT NULL DEFAULT 'customer' CHECK (role IN ('customer', 'admin')),
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE addresses (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name        text NOT NULL,
    street      text NOT NULL,
    city        text NOT NULL,
    postal_code text NOT NULL,
    country     text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    created_at  timestamptz NOT NULL
);
CREATE INDEX addresses_by_user ON addresses (user_id, created_at, id);

-- One row per sign-in. Its refresh tokens follow each other; signing out or a stolen token ends them all.
CREATE TABLE token_families (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX token_families_by_user ON token_families (user_id);
CREATE INDEX token_families_by_expiry ON token_families (expires_at);

-- Only SHA-256 hashes: reading this table gives nobody a token.
CREATE TABLE refresh_tokens (
    token_hash     bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    family_id      uuid NOT NULL REFERENCES token_families ON DELETE CASCADE,
    created_at     timestamptz NOT NULL,
    used_at        timestamptz,
    successor_hash bytea
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id);

-- Kept for unknown addresses too, so that being throttled says nothing about an account.
CREATE TABLE sign_in_failures (
    email           text PRIMARY KEY,
    failures        integer NOT NULL CHECK (failures > 0),
    last_failure_at timestamptz NOT NULL,
    locked_until    timestamptz NOT NULL
);
CREATE INDEX sign_in_failures_by_age ON sign_in_failures (last_failure_at);

CREATE TABLE signing_keys (
    kid          text PRIMARY KEY,
    private_key  bytea NOT NULL,
    public_key   bytea NOT NULL CHECK (octet_length(public_key) = 32),
    created_at   timestamptz NOT NULL,
    activates_at timestamptz NOT NULL
);
