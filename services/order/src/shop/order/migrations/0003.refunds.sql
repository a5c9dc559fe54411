-- depends: 0002.expected-total

-- What went back of an order's payment, one row per event of the payment service. Rows are only added, so that a refund
-- waits for no saga, and the event's id is a second guard beside the inbox against counting one twice.
CREATE TABLE refunds (
    event_id uuid PRIMARY KEY,
    order_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    at timestamptz NOT NULL
);
CREATE INDEX refunds_of_order ON refunds (order_id);
