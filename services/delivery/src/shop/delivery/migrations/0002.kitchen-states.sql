-- depends: 0001.initial

-- What the kitchens said about each order, and when. A ticket is older than its delivery, so its first states come
-- before there is a row of deliveries; an order that got no courier keeps them without one.
CREATE TABLE kitchen_states (
    order_id uuid NOT NULL,
    version  integer NOT NULL,
    state    text NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (order_id, version)
);

-- The line is served in the order in which the kitchens are ready.
CREATE INDEX deliveries_in_line ON deliveries (ready_at, order_id)
    WHERE courier_id IS NULL AND state IN ('held', 'waiting');
