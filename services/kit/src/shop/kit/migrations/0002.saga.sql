-- depends: 0001.outbox-inbox

-- Sagas of a service that keeps them in the kit's own table (shop.kit.saga.store). due_at is when a worker may claim the
-- saga: the end of the lease while lease_owner holds it, else the time of the next attempt.
CREATE TABLE saga (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    operation text NOT NULL,
    subject jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'compensating', 'done')),
    attempts integer NOT NULL DEFAULT 1,
    fence integer NOT NULL DEFAULT 1,
    lease_owner text,
    due_at timestamptz NOT NULL,
    deadline_at timestamptz,
    outcome_uncertain boolean NOT NULL DEFAULT false,
    refusal jsonb,
    history jsonb NOT NULL DEFAULT '[]',
    traceparent text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX saga_due ON saga (due_at) WHERE status <> 'done';
