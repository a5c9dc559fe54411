-- A board of the boards file. A board that is removed from the file and comes back is a new row with a new id, so it
-- inherits nothing. `epoch` grows when the cache missed a change: what was cached before is not read any more.
CREATE TABLE boards (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    board text NOT NULL,
    source text NOT NULL,
    operator text NOT NULL CHECK (operator IN ('best', 'last', 'sum')),
    direction text NOT NULL CHECK (direction IN ('desc', 'asc')),
    reset text NOT NULL CHECK (reset IN ('never', 'daily', 'weekly', 'monthly')),
    epoch bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    removed_at timestamptz
);
CREATE UNIQUE INDEX boards_present ON boards (board) WHERE removed_at IS NULL;

-- Names and privacy, from the newest player.changed. `version` 0: no such event yet; such a player is not listed.
CREATE TABLE players (
    player_id uuid PRIMARY KEY,
    name text NOT NULL DEFAULT '',
    private boolean NOT NULL DEFAULT true,
    version bigint NOT NULL DEFAULT 0
);

-- `ends_at` is null for a board that never resets. `archived_at`: entries beyond the board's size are gone.
CREATE TABLE seasons (
    board_id integer NOT NULL,
    season text NOT NULL,
    starts_at timestamptz,
    ends_at timestamptz,
    archived_at timestamptz,
    PRIMARY KEY (board_id, season)
);
CREATE INDEX seasons_ended ON seasons (ends_at) WHERE archived_at IS NULL;

-- What was scored, once for each cause: result:<id>, order:<id> or xp:<player id>:<version>. The points of a cancelled
-- order do not count; one that was cancelled before it was confirmed has an empty season.
CREATE TABLE scores (
    board_id integer NOT NULL,
    cause text NOT NULL,
    season text NOT NULL,
    player_id uuid NOT NULL,
    score bigint NOT NULL CHECK (score >= 0),
    at timestamptz NOT NULL,
    cancelled boolean NOT NULL DEFAULT false,
    PRIMARY KEY (board_id, cause)
);
CREATE INDEX scores_of_player ON scores (player_id, board_id, season, at);
CREATE INDEX scores_of_season ON scores (board_id, season, at);

-- A player's place in a season. Smaller `sort_key` is better: the score, negative where a higher one is better. Equal
-- ones are ordered by `at`, when the score was reached, then by `seq`. `position` orders the scores of `last` boards;
-- `total` and `scores` are the exact sum of a `sum` board and the number of its scores, which `score` shows up to
-- 2^63-1. `listed`: the player is public and has a score that counts. `revision` grows with each change of the row.
CREATE SEQUENCE entry_seq;
CREATE TABLE entries (
    board_id integer NOT NULL,
    season text NOT NULL,
    player_id uuid NOT NULL,
    score bigint NOT NULL CHECK (score >= 0),
    sort_key bigint NOT NULL CHECK (sort_key IN (score, -score)),
    at timestamptz NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('entry_seq'),
    position bigint NOT NULL,
    total numeric NOT NULL CHECK (total >= 0),
    scores bigint NOT NULL CHECK (scores >= 0),
    listed boolean NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (board_id, season, player_id)
);
CREATE INDEX entries_ranked ON entries (board_id, season, sort_key, at, seq) WHERE listed;
CREATE INDEX entries_of_player ON entries (player_id);
