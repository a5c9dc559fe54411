-- depends: 0004.quoted-totals

-- What an order of food has besides retail's: one row per order of the kind food. It is a table of its own, because the
-- events of ticket and delivery change it a dozen times while the order itself changes three times. A summary is
-- stored with the version of its event and never replaced by an older one.
CREATE TABLE food_orders (
    order_id uuid PRIMARY KEY,
    restaurant_id uuid NOT NULL,
    tip bigint NOT NULL CHECK (tip >= 0),
    phone text,
    note text NOT NULL DEFAULT '',
    restaurant_name text,
    promised_at timestamptz,
    ticket_state text,
    ticket_reason text,
    ticket_version integer NOT NULL DEFAULT 0,
    ready_at timestamptz,
    delivery_state text,
    delivery_version integer NOT NULL DEFAULT 0,
    courier_name text,
    vehicle text,
    eta timestamptz,
    unsettled boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);

-- Orders whose events could not take effect when they came, because a saga was under way.
CREATE INDEX food_orders_unsettled ON food_orders (order_id) WHERE unsettled;
