-- What is sold. `stock` is what is left to sell. Invariant per product, held by every statement of the repository:
--   stock + lines reserved or sold = sum of stock_movements.
CREATE TABLE products (
    id          uuid PRIMARY KEY,
    sku         text NOT NULL CONSTRAINT one_product_per_sku UNIQUE,
    name        text NOT NULL,
    sort_name   text NOT NULL,
    description text NOT NULL,
    category    text NOT NULL,
    price       bigint NOT NULL CHECK (price >= 0),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    stock       integer NOT NULL CONSTRAINT stock_not_negative CHECK (stock >= 0),
    attributes  jsonb NOT NULL DEFAULT '{}',
    search      tsvector NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX products_by_name ON products (sort_name, id);
CREATE INDEX products_by_category ON products (category, sort_name, id);
CREATE INDEX products_by_price ON products (price, id);
CREATE INDEX products_search ON products USING gin (search);

-- What came in or was written off, never what was sold.
CREATE TABLE stock_movements (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id uuid NOT NULL REFERENCES products (id),
    delta      integer NOT NULL CHECK (delta <> 0),
    reason     text NOT NULL,
    key        text,
    at         timestamptz NOT NULL,
    CONSTRAINT one_movement_per_key UNIQUE (product_id, key)
);

-- One row per order that reserved stock. Released without lines is the tombstone of an order that gave up before its
-- reservation arrived: it will be refused.
CREATE TABLE reservations (
    order_id   uuid PRIMARY KEY,
    state      text NOT NULL CHECK (state IN ('reserved', 'sold', 'released')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE reservation_lines (
    order_id   uuid NOT NULL REFERENCES reservations (order_id),
    product_id uuid NOT NULL REFERENCES products (id),
    quantity   integer NOT NULL CHECK (quantity > 0),
    sku        text NOT NULL,
    name       text NOT NULL,
    category   text NOT NULL,
    price      bigint NOT NULL,
    currency   text NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
CREATE INDEX reservation_lines_product ON reservation_lines (product_id);

-- A reservation ends once: what was released stays released.
CREATE FUNCTION refuse_reservation_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a reservation cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER reservations_states BEFORE UPDATE OF state ON reservations FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state
          AND (OLD.state, NEW.state) NOT IN (('reserved', 'sold'), ('reserved', 'released'), ('sold', 'released')))
    EXECUTE FUNCTION refuse_reservation_change();
