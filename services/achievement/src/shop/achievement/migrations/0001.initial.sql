-- A player's row is locked by each transaction that changes facts or achievements of the player; everything else of the
-- player goes with it. mail_to is null where no mails are wanted. unlocks numbers the player's achievements.
CREATE TABLE players (
    player_id uuid PRIMARY KEY,
    profile_version bigint NOT NULL DEFAULT 0,
    private boolean NOT NULL DEFAULT false,
    mail_to text,
    unlocks integer NOT NULL DEFAULT 0
);

-- What is known of a player by name, such as score:stack, as rules ask for it. peak is the greatest value that the fact
-- ever had: a cancelled order lowers the value alone.
CREATE TABLE facts (
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    fact text NOT NULL CHECK (length(fact) BETWEEN 1 AND 200),
    value numeric(40, 0) NOT NULL,
    peak numeric(40, 0) NOT NULL CHECK (peak >= value),
    PRIMARY KEY (player_id, fact)
);

-- An order counts while it is confirmed and not cancelled, whichever event comes first; total is in minor units.
CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    confirmed boolean NOT NULL,
    cancelled boolean NOT NULL,
    total bigint NOT NULL,
    currency text NOT NULL,
    categories text[] NOT NULL
);
CREATE INDEX orders_of_player ON orders (player_id);

-- Name, description and xp as they were announced. event_id is the event that unlocked it, null where none did (a game
-- server, or rules that were applied to the past). evidence is what was needed: [{"fact", "need"}, ...], and each of
-- these facts had at least the value "need" then; empty for one that a game server unlocks.
CREATE TABLE unlocked (
    player_id uuid NOT NULL REFERENCES players ON DELETE CASCADE,
    code text NOT NULL CHECK (length(code) BETWEEN 1 AND 64),
    number integer NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    xp integer NOT NULL CHECK (xp >= 0),
    hidden boolean NOT NULL,
    external boolean NOT NULL,
    evidence jsonb NOT NULL,
    event_id uuid,
    unlocked_at timestamptz NOT NULL,
    PRIMARY KEY (player_id, code),
    UNIQUE (player_id, number),
    CHECK (external = (evidence = '[]'::jsonb))
);
