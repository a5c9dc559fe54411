-- One row per order: the intent to charge it, then what became of that. Never deleted. A row whose voided_at is set is
-- a tombstone: the order gave the charge up, and a charge that arrives later is refused.
CREATE TABLE payments (
    id uuid PRIMARY KEY,
    order_id uuid NOT NULL CONSTRAINT one_payment_per_order UNIQUE,
    user_id uuid,
    state text NOT NULL
        CHECK (state IN ('pending', 'captured', 'declined', 'voided', 'partially_refunded', 'refunded')),
    amount bigint NOT NULL CHECK (amount >= 0),
    refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    refunding bigint NOT NULL DEFAULT 0 CHECK (refunding >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    provider text NOT NULL,
    provider_reference text,
    token text,
    decline_code text,
    traceparent text NOT NULL DEFAULT '',
    voided_at timestamptz,
    void_reason text,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT refunds_within_capture CHECK (refunded + refunding <= amount),
    CONSTRAINT refunds_match_state CHECK (
        CASE state
            WHEN 'captured' THEN refunded = 0
            WHEN 'partially_refunded' THEN refunded > 0 AND refunded < amount
            WHEN 'refunded' THEN refunded > 0 AND refunded = amount
            ELSE refunded + refunding = 0
        END
    ),
    CONSTRAINT token_only_while_pending CHECK (token IS NULL OR state = 'pending'),
    CONSTRAINT owner_unless_never_charged CHECK (user_id IS NOT NULL OR state = 'voided')
);
CREATE INDEX payments_to_settle ON payments (next_attempt_at)
    WHERE state = 'pending' OR (voided_at IS NOT NULL AND amount > 0 AND state IN ('captured', 'partially_refunded'));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is not allowed: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END
$$;

-- The condition is evaluated without a call, so the legal transitions cost nothing.
CREATE TRIGGER payments_states BEFORE UPDATE OF state ON payments FOR EACH ROW
    WHEN (
        OLD.state IS DISTINCT FROM NEW.state
        AND (OLD.state, NEW.state) NOT IN (
            ('pending', 'captured'), ('pending', 'declined'), ('captured', 'partially_refunded'),
            ('captured', 'refunded'), ('partially_refunded', 'refunded')
        )
    )
    EXECUTE FUNCTION refuse_change('the state cannot follow the one before');
CREATE TRIGGER payments_kept BEFORE DELETE OR TRUNCATE ON payments FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_change('payments are kept');

-- The intent to give money back, then what became of it; the amount counts as refunding until the provider has answered.
CREATE TABLE refunds (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payments (id),
    amount bigint NOT NULL CHECK (amount > 0),
    idempotency_key text NOT NULL,
    provider_reference text,
    state text NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed')),
    reason text NOT NULL,
    for_void boolean NOT NULL,
    failure_code text,
    traceparent text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT one_refund_per_key UNIQUE (payment_id, idempotency_key)
);
CREATE INDEX refunds_to_settle ON refunds (next_attempt_at) WHERE state = 'pending';

-- The ledger. A capture is a transaction of its payment's id, a refund one of the refund's id, so that neither can be
-- booked twice. Positive amounts are debits: what lies at the provider grows, what was sold shrinks below zero.
CREATE TABLE entries (
    transaction_id uuid NOT NULL,
    account text NOT NULL CHECK (account IN ('provider', 'sales', 'refunds')),
    amount bigint NOT NULL CHECK (amount <> 0),
    currency text NOT NULL,
    payment_id uuid NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (transaction_id, account)
);
CREATE INDEX entries_payment ON entries (payment_id);

-- Checked once per statement rather than per row: a transaction is inserted whole or not at all, and what each statement
-- adds sums to zero, so the ledger does.
CREATE FUNCTION require_zero_sum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unbalanced uuid;
BEGIN
    SELECT transaction_id INTO unbalanced FROM added GROUP BY transaction_id, currency HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', unbalanced USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER entries_zero_sum AFTER INSERT ON entries REFERENCING NEW TABLE AS added FOR EACH STATEMENT
    EXECUTE FUNCTION require_zero_sum();
CREATE TRIGGER entries_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_change('the ledger is only appended to');

-- The simulated provider. It is another company as far as the tables above are concerned: nothing here refers to them, and
-- no transaction touches both. Several captures of one order are possible here, so that an audit can find them.
CREATE SCHEMA simulator;
CREATE TABLE simulator.charges (
    key text PRIMARY KEY,
    reference uuid NOT NULL UNIQUE,
    order_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    currency text NOT NULL,
    token text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('captured', 'declined')),
    code text,
    requests integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refunds_within_charge CHECK (refunded <= CASE outcome WHEN 'captured' THEN amount ELSE 0 END)
);
CREATE INDEX charges_order ON simulator.charges (order_id);
CREATE TABLE simulator.refunds (
    key text PRIMARY KEY,
    reference uuid NOT NULL UNIQUE,
    charge_reference uuid NOT NULL REFERENCES simulator.charges (reference),
    amount bigint NOT NULL CHECK (amount > 0),
    requests integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now()
);
