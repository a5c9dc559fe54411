-- A player is a user of the same id. Every row of another table belongs to a player and is deleted with it.
-- xp is the sum of the player's ledger and level follows from it; level_reached is the highest ever. version counts
-- changes of the profile, ledger_version entries of the ledger; both grow while the row is locked. streak_days is the
-- length of the run of days that ends on streak_on. time_zone is null for the store's. orders counts confirmed orders
-- that were not cancelled.
CREATE TABLE players (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 2 AND 30),
    private boolean NOT NULL DEFAULT false,
    mails boolean NOT NULL DEFAULT false,
    time_zone text,
    email text,
    xp bigint NOT NULL DEFAULT 0 CHECK (xp >= 0),
    level integer NOT NULL DEFAULT 1 CHECK (level >= 1),
    level_reached integer NOT NULL DEFAULT 1,
    streak_days integer NOT NULL DEFAULT 0,
    streak_on date,
    best_streak integer NOT NULL DEFAULT 0,
    orders integer NOT NULL DEFAULT 0,
    version integer NOT NULL DEFAULT 1,
    ledger_version integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    CHECK (level_reached >= level),
    CHECK (best_streak >= streak_days)
) WITH (fillfactor = 80);

-- One entry per cause: order:<id>, order_cancelled:<id>, result:<session id>, achievement:<code>. id orders the pages.
CREATE TABLE ledger (
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    cause text NOT NULL CHECK (length(cause) BETWEEN 1 AND 128),
    xp integer NOT NULL,
    at timestamptz NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (player_id, cause)
);
CREATE INDEX ledger_pages ON ledger (player_id, id);

-- The player's local days with a round or a confirmed order.
CREATE TABLE days (
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    day date NOT NULL,
    PRIMARY KEY (player_id, day)
);

-- id is the session's: a session has one result. day is the player's local one; event_id is that of player.scored.v1.
CREATE TABLE results (
    id uuid PRIMARY KEY,
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    game text NOT NULL,
    moves integer[] NOT NULL,
    score bigint NOT NULL CHECK (score >= 0),
    ticks integer NOT NULL,
    statistics jsonb NOT NULL,
    xp integer NOT NULL,
    level integer NOT NULL,
    day date NOT NULL,
    event_id uuid NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX results_by_time ON results (player_id, created_at);
CREATE INDEX results_by_day ON results (player_id, day);

CREATE TABLE game_totals (
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    game text NOT NULL,
    rounds integer NOT NULL,
    best_score bigint NOT NULL,
    PRIMARY KEY (player_id, game)
);

-- One coupon per player and level, given for the ledger's entry of that cause.
CREATE TABLE rewards (
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    level integer NOT NULL,
    cause text NOT NULL,
    code text NOT NULL UNIQUE,
    percent integer NOT NULL CHECK (percent BETWEEN 1 AND 100),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (player_id, level)
);

CREATE TABLE friends (
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    friend_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    added_at timestamptz NOT NULL,
    PRIMARY KEY (player_id, friend_id),
    CHECK (player_id <> friend_id)
);
CREATE INDEX friends_reversed ON friends (friend_id);

-- Programs that post scores; of a token only its SHA-256 is kept.
CREATE TABLE game_servers (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    sources text[] NOT NULL,
    token_digest bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);

-- Scores posted by game servers and administrators (poster_id), by Idempotency-Key; removed after some days.
CREATE TABLE posted_scores (
    poster_id uuid NOT NULL,
    key text NOT NULL,
    request_digest bytea NOT NULL,
    id uuid NOT NULL UNIQUE,
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    board text NOT NULL,
    source text NOT NULL,
    score bigint NOT NULL CHECK (score >= 0),
    event_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (poster_id, key)
);
CREATE INDEX posted_scores_age ON posted_scores (created_at);
CREATE INDEX posted_scores_of_player ON posted_scores (player_id);
