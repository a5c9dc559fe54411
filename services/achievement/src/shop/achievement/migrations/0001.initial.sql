-- Entries belong to a user; ids are time-ordered, so the index gives a user's newest entries first.
CREATE TABLE entries (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    origin text NOT NULL CHECK (origin IN ('user', 'order')),
    note text NOT NULL CHECK (length(note) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL
);
CREATE INDEX entries_of_user ON entries (user_id, id);
