-- The orders, the sagas that place or cancel them, and the record of every change of state.

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    email text NOT NULL,
    customer_name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('retail', 'food')),
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'confirmed', 'fulfilled', 'delivered', 'rejected', 'cancelled')),
    version integer NOT NULL DEFAULT 1,
    reason text,
    lines jsonb NOT NULL,
    currency text NOT NULL,
    subtotal bigint CHECK (subtotal >= 0),
    discount bigint CHECK (discount >= 0),
    tax bigint CHECK (tax >= 0),
    shipping bigint CHECK (shipping >= 0),
    total bigint CHECK (total >= 0),
    address jsonb NOT NULL,
    country text NOT NULL,
    coupon text,
    payment_token text,
    idempotency_key text NOT NULL,
    body_hash bytea NOT NULL,
    cancel_requested_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT one_order_per_key UNIQUE (user_id, idempotency_key),
    CONSTRAINT token_is_deleted_at_the_end CHECK (state = 'pending' OR payment_token IS NULL),
    CONSTRAINT sold_orders_are_priced CHECK (
        state IN ('pending', 'rejected')
        OR total IS NOT NULL AND total = subtotal - discount + tax + shipping
    ),
    CONSTRAINT rejected_orders_say_why CHECK (state <> 'rejected' OR reason IS NOT NULL)
) WITH (fillfactor = 70);

-- Ids are time-ordered, so this is "my orders, newest first". No index has a column that the end of an order
-- changes: ending it is then a heap-only update.
CREATE INDEX orders_of_user ON orders (user_id, id);

-- One saga per order: 'place' first, and 'cancel' later in the same row. due_at is when somebody may take it up:
-- the end of the lease while lease_owner holds it, else the time of the next attempt. No foreign key to orders:
-- both rows are written by one statement and never deleted.
CREATE TABLE sagas (
    order_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('place', 'cancel')),
    status text NOT NULL CHECK (status IN ('running', 'compensating', 'done')),
    attempts integer NOT NULL DEFAULT 1,
    fence integer NOT NULL DEFAULT 1,
    lease_owner text,
    due_at timestamptz NOT NULL,
    deadline_at timestamptz,
    doubtful boolean NOT NULL DEFAULT false,
    refusal jsonb,
    history jsonb NOT NULL DEFAULT '[]',
    traceparent text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX sagas_due ON sagas (due_at) WHERE status <> 'done';

-- Each change of state after the creation; version 1 is the order's creation itself.
CREATE TABLE order_transitions (
    order_id uuid NOT NULL,
    version integer NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    at timestamptz NOT NULL,
    trace_id text NOT NULL,
    PRIMARY KEY (order_id, version)
);

-- The last line of defence, whatever a program does: an order starts pending and moves along these lines only.
CREATE FUNCTION refuse_illegal_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('pending', 'confirmed'), ('pending', 'rejected'),
        ('confirmed', 'fulfilled'), ('confirmed', 'cancelled'),
        ('fulfilled', 'delivered')
    ) OR NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'order % cannot go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_transition';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER legal_transition BEFORE UPDATE OF state ON orders
    FOR EACH ROW EXECUTE FUNCTION refuse_illegal_transition();

CREATE FUNCTION refuse_other_start() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % cannot start as %', NEW.id, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_transition';
END $$;
CREATE TRIGGER legal_start BEFORE INSERT ON orders
    FOR EACH ROW WHEN (NEW.state <> 'pending' OR NEW.version <> 1) EXECUTE FUNCTION refuse_other_start();
