-- What customers bought, and the models trained on it. Numbers are small keys that the training reads instead of UUIDs.
-- alias is what administrators see of a customer.
CREATE TABLE customers (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE,
    alias uuid NOT NULL UNIQUE DEFAULT gen_random_uuid()
);

CREATE TABLE products (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id uuid NOT NULL UNIQUE
);

-- Every order of which an event was consumed. One with cancelled_at has no purchases, whichever event came first.
CREATE TABLE orders (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id uuid NOT NULL UNIQUE,
    customer integer NOT NULL REFERENCES customers ON DELETE CASCADE,
    cancelled_at timestamptz
);
CREATE INDEX orders_of_customer ON orders (customer);

-- One row per product of an order that counts.
CREATE TABLE purchases (
    order_number integer NOT NULL REFERENCES orders ON DELETE CASCADE,
    product integer NOT NULL REFERENCES products,
    customer integer NOT NULL REFERENCES customers ON DELETE CASCADE,
    ordered_at timestamptz NOT NULL,
    PRIMARY KEY (order_number, product)
);
CREATE INDEX purchases_of_customer ON purchases (customer, ordered_at DESC);

-- Digests (SHA-256) of the ids of deleted customers, for as long as an order event of theirs may still arrive.
CREATE TABLE deleted_customers (
    digest bytea PRIMARY KEY,
    deleted_at timestamptz NOT NULL
);

-- Raised by every transaction that changes purchases: its row lock makes them take turns, its value says whether a model
-- is up to date.
CREATE TABLE revision (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    value bigint NOT NULL,
    changed_at timestamptz NOT NULL
);
INSERT INTO revision (value, changed_at) VALUES (0, now());

-- Who may train; the fence grows with each lease.
CREATE TABLE training (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    owner uuid,
    leased_until timestamptz NOT NULL,
    fence bigint NOT NULL
);
INSERT INTO training (leased_until, fence) VALUES (now(), 0);

-- Trained models, the newest of which every replica loads. revision: of the purchases that it was trained on, at least.
CREATE TABLE models (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision bigint NOT NULL,
    trained_at timestamptz NOT NULL,
    training_seconds double precision NOT NULL,
    orders integer NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE models ALTER COLUMN content SET STORAGE EXTERNAL;
