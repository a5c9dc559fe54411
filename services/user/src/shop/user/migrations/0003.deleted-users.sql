-- Ids of deleted accounts, for as long as access tokens of theirs have not expired.
CREATE TABLE deleted_users (
    user_id    uuid PRIMARY KEY,
    deleted_at timestamptz NOT NULL
);
CREATE INDEX deleted_users_by_time ON deleted_users (deleted_at);
