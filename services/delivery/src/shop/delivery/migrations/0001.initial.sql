-- Couriers. `load` is how many deliveries a courier holds or carries; the trigger `courier_load` alone writes it.
-- `revision` grows with each change of what the courier's page shows.
CREATE TABLE couriers (
    user_id    uuid PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    vehicle    text NOT NULL CHECK (vehicle IN ('bike', 'cargo_bike', 'scooter', 'car')),
    capacity   smallint NOT NULL CHECK (capacity BETWEEN 1 AND 10),
    load       smallint NOT NULL DEFAULT 0,
    on_shift   boolean NOT NULL DEFAULT false,
    revision   integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT load_within_capacity CHECK (load BETWEEN 0 AND capacity)
) WITH (fillfactor = 70);
CREATE INDEX couriers_on_shift ON couriers (user_id) WHERE on_shift;

-- The last fix of each courier; `junction` is the nearest one. A courier without a row never had a fix.
CREATE TABLE courier_positions (
    courier_id uuid PRIMARY KEY REFERENCES couriers (user_id),
    lat        double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    lon        double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),
    junction   smallint NOT NULL,
    fixed_at   timestamptz NOT NULL
) WITH (fillfactor = 50);

-- One row per order. 'held' is a reservation that is not paid yet: with a courier, or in line for one. 'released' is
-- one that was given up; without details it is the tombstone of an order whose release came first.
-- `live`: it was paid. `version` counts the changes of state since then, each with a row of delivery_transitions and an event;
-- `revision` grows with each change that customers see.
CREATE TABLE deliveries (
    order_id          uuid PRIMARY KEY,
    state             text NOT NULL CHECK (state IN ('held', 'released', 'waiting', 'assigned', 'at_restaurant',
                          'picked_up', 'on_the_way', 'delivered', 'failed', 'cancelled')),
    version           integer NOT NULL DEFAULT 0,
    revision          integer NOT NULL DEFAULT 1,
    live              boolean NOT NULL GENERATED ALWAYS AS (version > 0) STORED,
    courier_id        uuid REFERENCES couriers (user_id),
    reason            text,
    user_id           uuid,
    restaurant_id     uuid,
    restaurant_name   text,
    address           jsonb,
    pickup_lat        double precision,
    pickup_lon        double precision,
    dropoff_lat       double precision,
    dropoff_lon       double precision,
    dropoff_junction  smallint,
    distance_m        integer CHECK (distance_m >= 0),
    code              text CHECK (code ~ '^[0-9]{4}$'),
    wrong_codes       smallint NOT NULL DEFAULT 0,
    wrong_codes_since timestamptz,
    ready_at          timestamptz,
    kitchen           text,
    kitchen_version   integer NOT NULL DEFAULT 0,
    promised_at       timestamptz,
    first_eta         timestamptz,
    eta               timestamptz,
    waiting_since     timestamptz NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    CONSTRAINT courier_of_the_state CHECK (state = 'held' OR (courier_id IS NOT NULL)
        = (state IN ('assigned', 'at_restaurant', 'picked_up', 'on_the_way', 'delivered'))),
    CONSTRAINT only_tombstones_are_empty CHECK (state = 'released' OR num_nulls(user_id, restaurant_id,
        restaurant_name, address, pickup_lat, pickup_lon, dropoff_lat, dropoff_lon, dropoff_junction, distance_m,
        code, ready_at, promised_at, eta) = 0)
) WITH (fillfactor = 70);
CREATE INDEX deliveries_without_courier ON deliveries (waiting_since, order_id)
    WHERE courier_id IS NULL AND state IN ('held', 'waiting');
CREATE INDEX deliveries_of_courier ON deliveries (courier_id)
    WHERE courier_id IS NOT NULL AND state IN ('held', 'assigned', 'at_restaurant', 'picked_up', 'on_the_way');
CREATE INDEX deliveries_by_time ON deliveries (created_at, dropoff_junction);
CREATE INDEX deliveries_by_state ON deliveries (state, created_at, order_id);

-- Each change of state of a live delivery, and the courier that it had then.
CREATE TABLE delivery_transitions (
    order_id   uuid NOT NULL REFERENCES deliveries (order_id),
    version    integer NOT NULL,
    from_state text NOT NULL,
    to_state   text NOT NULL,
    courier_id uuid,
    at         timestamptz NOT NULL,
    PRIMARY KEY (order_id, version)
);

-- Couriers who gave an order back: they are not offered it again.
CREATE TABLE delivery_refusals (
    order_id   uuid NOT NULL REFERENCES deliveries (order_id),
    courier_id uuid NOT NULL REFERENCES couriers (user_id),
    at         timestamptz NOT NULL,
    PRIMARY KEY (order_id, courier_id)
);

-- The last line of defence, whatever a program does: legal changes only, and from one courier to another only by way
-- of no courier.
CREATE FUNCTION refuse_illegal_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.courier_id <> NEW.courier_id THEN
        RAISE EXCEPTION 'delivery % has a courier already', OLD.order_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'one_courier';
    END IF;
    IF OLD.state <> NEW.state AND ((OLD.state, NEW.state) NOT IN (
        ('held', 'waiting'), ('held', 'assigned'), ('held', 'released'),
        ('waiting', 'assigned'), ('waiting', 'failed'), ('waiting', 'cancelled'),
        ('assigned', 'waiting'), ('assigned', 'at_restaurant'), ('assigned', 'cancelled'),
        ('at_restaurant', 'waiting'), ('at_restaurant', 'picked_up'), ('at_restaurant', 'cancelled'),
        ('picked_up', 'on_the_way'), ('picked_up', 'cancelled'),
        ('on_the_way', 'delivered'), ('on_the_way', 'cancelled')
    ) OR NEW.version <> OLD.version + (NEW.state <> 'released')::integer) THEN
        RAISE EXCEPTION 'delivery % cannot go from % (%) to % (%)',
            OLD.order_id, OLD.state, OLD.version, NEW.state, NEW.version
            USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_transition';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER legal_transition BEFORE UPDATE OF state, courier_id ON deliveries
    FOR EACH ROW EXECUTE FUNCTION refuse_illegal_delivery();

CREATE FUNCTION refuse_other_delivery_start() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'delivery % cannot start as %', NEW.order_id, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_transition';
END $$;
CREATE TRIGGER legal_start BEFORE INSERT ON deliveries
    FOR EACH ROW WHEN (NEW.state NOT IN ('held', 'released') OR NEW.version <> 0)
    EXECUTE FUNCTION refuse_other_delivery_start();

CREATE FUNCTION is_carried(state text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT state IN ('held', 'assigned', 'at_restaurant', 'picked_up', 'on_the_way') $$;

-- Together with load_within_capacity: no courier ever has more deliveries than fit.
CREATE FUNCTION count_courier_load() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_courier uuid := CASE WHEN TG_OP = 'UPDATE' AND is_carried(OLD.state) THEN OLD.courier_id END;
    new_courier uuid := CASE WHEN is_carried(NEW.state) THEN NEW.courier_id END;
BEGIN
    IF old_courier = new_courier THEN
        UPDATE couriers SET revision = revision + 1 WHERE user_id = new_courier;
        RETURN NULL;
    END IF;
    IF old_courier IS NOT NULL THEN
        UPDATE couriers SET load = load - 1, revision = revision + 1 WHERE user_id = old_courier;
    END IF;
    IF new_courier IS NOT NULL THEN
        UPDATE couriers SET load = load + 1, revision = revision + 1 WHERE user_id = new_courier;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER courier_load AFTER INSERT OR UPDATE ON deliveries
    FOR EACH ROW EXECUTE FUNCTION count_courier_load();
