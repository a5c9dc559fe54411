-- depends: 0002.deleted-users

-- How the customer of a food order is reached, and what they were told about its delivery: the events of deliveries have
-- no address, and a message is sent once and never after a newer one. A row is deleted with its user, or when it has not
-- been used for 30 days.
CREATE TABLE food_orders (
    order_id   uuid PRIMARY KEY,
    user_id    uuid NOT NULL,
    email      text,
    phone      text,
    confirmed  boolean NOT NULL DEFAULT false,
    over       boolean NOT NULL DEFAULT false,
    version    integer NOT NULL DEFAULT 0,
    courier    text,
    on_the_way boolean NOT NULL DEFAULT false,
    held       jsonb,
    used_at    timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX food_orders_of_user ON food_orders (user_id);
