-- depends: 0002.saga

-- Digests (SHA-256) of the ids of deleted users, for as long as an event about them may still arrive.
CREATE TABLE deleted_user_digest (
    digest bytea PRIMARY KEY,
    deleted_at timestamptz NOT NULL
);
