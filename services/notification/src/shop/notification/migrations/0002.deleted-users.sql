-- Digests (SHA-256) of the ids of deleted users, for as long as an event about them may still arrive.
CREATE TABLE deleted_users (
    digest     bytea PRIMARY KEY,
    deleted_at timestamptz NOT NULL
);

-- Messages about a user that belong to none: the last mail, and what the owner of the shop was sent.
CREATE INDEX notifications_about ON notifications ((data ->> 'user_id')) WHERE user_id IS NULL;
