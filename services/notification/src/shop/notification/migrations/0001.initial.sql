CREATE TABLE notifications (
    id              uuid PRIMARY KEY,
    event_id        uuid NOT NULL,
    channel         text NOT NULL CHECK (channel IN ('email', 'sms')),
    user_id         uuid,
    order_id        uuid,
    recipient       text,
    template        text NOT NULL,
    data            jsonb NOT NULL,
    trace_id        text NOT NULL DEFAULT '',
    subject         text NOT NULL DEFAULT '',
    body_text       text,
    body_html       text,
    state           text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'failed')),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    sent_at         timestamptz,
    error           text,
    UNIQUE (event_id, channel)
);
CREATE INDEX notifications_due ON notifications (channel, next_attempt_at) WHERE state = 'queued';
CREATE INDEX notifications_of_user ON notifications (user_id, id);
CREATE INDEX notifications_to ON notifications (recipient, id);
CREATE INDEX notifications_failed ON notifications (id) WHERE state = 'failed';

-- Where a user reads mail, as far as events have told: some events name only the user.
CREATE TABLE contacts (
    user_id  uuid PRIMARY KEY,
    email    text NOT NULL,
    name     text NOT NULL,
    known_at timestamptz NOT NULL
);

-- What the local mailbox received. The unique Message-ID makes a mail that was sent twice one mail.
CREATE TABLE mailbox (
    id          uuid PRIMARY KEY,
    message_id  text NOT NULL UNIQUE,
    sender      text NOT NULL,
    recipients  text[] NOT NULL,
    subject     text NOT NULL,
    raw         bytea NOT NULL,
    received_at timestamptz NOT NULL
);
