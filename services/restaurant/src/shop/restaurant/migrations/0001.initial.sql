-- A restaurant with all that decides whether it takes an order, so that one row lock makes the decision safe.
-- `held` counts its tickets in work; the triggers tickets_added and tickets_changed keep it, kitchen_capacity_guard
-- limits it.
CREATE TABLE restaurants (
    id                    uuid PRIMARY KEY,
    name                  text NOT NULL,
    sort_name             text NOT NULL,
    cuisine               text NOT NULL,
    description           text NOT NULL,
    address               jsonb NOT NULL,
    lat                   double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    lon                   double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),
    time_zone             text NOT NULL,
    currency              text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    minimum_order         bigint NOT NULL CHECK (minimum_order >= 0),
    hours                 jsonb NOT NULL,
    hours_version         integer NOT NULL DEFAULT 1,
    closures              date[] NOT NULL DEFAULT '{}',
    paused                boolean NOT NULL DEFAULT false,
    acceptance            text NOT NULL CHECK (acceptance IN ('automatic', 'manual')),
    acceptance_deadline_s integer NOT NULL CHECK (acceptance_deadline_s BETWEEN 1 AND 3600),
    auto_progress         boolean NOT NULL,
    kitchen_capacity      integer NOT NULL CHECK (kitchen_capacity BETWEEN 1 AND 1000),
    preparation_s         integer NOT NULL CHECK (preparation_s BETWEEN 1 AND 14400),
    menu_version          integer NOT NULL DEFAULT 0,
    sold_out              uuid[] NOT NULL DEFAULT '{}',
    held                  integer NOT NULL DEFAULT 0 CHECK (held >= 0),
    search                tsvector NOT NULL DEFAULT '',
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX restaurants_by_name ON restaurants (sort_name, id);
CREATE INDEX restaurants_search ON restaurants USING gin (search);

-- Every version of a menu is kept. Tickets have their own lines and prices, so no menu changes them.
CREATE TABLE menus (
    restaurant_id uuid NOT NULL REFERENCES restaurants (id),
    version       integer NOT NULL CHECK (version >= 1),
    document      jsonb NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (restaurant_id, version)
);

-- Who changed what of a restaurant; `change` is the request.
CREATE TABLE restaurant_changes (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    restaurant_id uuid NOT NULL REFERENCES restaurants (id),
    user_id       uuid,
    kind          text NOT NULL,
    change        jsonb NOT NULL,
    at            timestamptz NOT NULL
);
CREATE INDEX changes_of_restaurant ON restaurant_changes (restaurant_id, id);

CREATE TABLE staff (
    user_id       uuid NOT NULL,
    restaurant_id uuid NOT NULL REFERENCES restaurants (id),
    added_at      timestamptz NOT NULL,
    PRIMARY KEY (user_id, restaurant_id)
);
CREATE INDEX staff_of_restaurant ON staff (restaurant_id, user_id);

-- One row per order. Cancelled without a restaurant is the tombstone of an order that was released or withdrawn before
-- it came: it will be refused. `due_at` is when the clock changes the ticket.
CREATE SEQUENCE ticket_sequence;
CREATE TABLE tickets (
    order_id         uuid PRIMARY KEY,
    restaurant_id    uuid REFERENCES restaurants (id),
    user_id          uuid,
    restaurant_name  text NOT NULL DEFAULT '',
    customer_name    text NOT NULL DEFAULT '',
    note             text NOT NULL DEFAULT '',
    lines            jsonb NOT NULL DEFAULT '[]',
    currency         text NOT NULL DEFAULT '',
    minimum_order    bigint NOT NULL DEFAULT 0,
    state            text NOT NULL
        CHECK (state IN ('waiting', 'accepted', 'rejected', 'preparing', 'ready', 'picked_up', 'cancelled')),
    reason           text,
    version          integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    sequence         bigint NOT NULL,
    decide_by        timestamptz,
    open_until       timestamptz,
    ready_at         timestamptz,
    due_at           timestamptz,
    paid_at          timestamptz,
    courier_name     text,
    vehicle          text,
    delivery_state   text,
    delivery_version integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT ticket_of_a_restaurant CHECK (
        (restaurant_id IS NOT NULL AND user_id IS NOT NULL AND currency <> '' AND jsonb_array_length(lines) > 0)
        OR (restaurant_id IS NULL AND state = 'cancelled')),
    CONSTRAINT begun_only_when_paid CHECK (state NOT IN ('preparing', 'ready', 'picked_up') OR paid_at IS NOT NULL),
    CONSTRAINT accepted_has_a_time CHECK (state NOT IN ('accepted', 'preparing', 'ready') OR ready_at IS NOT NULL),
    CONSTRAINT waiting_has_a_deadline CHECK (state <> 'waiting' OR (decide_by IS NOT NULL AND due_at = decide_by))
);
CREATE INDEX tickets_of_restaurant ON tickets (restaurant_id, order_id);
CREATE INDEX tickets_of_user ON tickets (user_id);
-- What a kitchen looks at, however many tickets it has had.
CREATE INDEX tickets_open ON tickets (restaurant_id, order_id)
    WHERE state IN ('waiting', 'accepted', 'preparing', 'ready');
CREATE INDEX tickets_by_sequence ON tickets (restaurant_id, sequence);
CREATE INDEX tickets_due ON tickets (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE ticket_transitions (
    order_id   uuid NOT NULL REFERENCES tickets (order_id),
    version    integer NOT NULL,
    from_state text,
    to_state   text NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (order_id, version)
);

CREATE FUNCTION refuse_overload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the kitchen % holds % of % orders', NEW.id, OLD.held, NEW.kitchen_capacity
        USING ERRCODE = 'check_violation', CONSTRAINT = 'kitchen_capacity_guard';
END
$$;
CREATE TRIGGER kitchen_capacity_guard BEFORE UPDATE OF held ON restaurants FOR EACH ROW
    WHEN (NEW.held > OLD.held AND NEW.held > NEW.kitchen_capacity)
    EXECUTE FUNCTION refuse_overload();

CREATE FUNCTION refuse_ticket_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a ticket cannot go from % to %, nor change what was ordered', OLD.state, NEW.state
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER tickets_states BEFORE UPDATE OF state ON tickets FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('waiting', 'accepted'), ('waiting', 'rejected'), ('waiting', 'cancelled'),
        ('accepted', 'preparing'), ('accepted', 'cancelled'),
        ('preparing', 'ready'), ('preparing', 'cancelled'), ('ready', 'picked_up'), ('ready', 'cancelled')))
    EXECUTE FUNCTION refuse_ticket_change();
CREATE TRIGGER tickets_lines BEFORE UPDATE ON tickets FOR EACH ROW
    WHEN ((OLD.lines, OLD.currency, OLD.minimum_order, OLD.restaurant_id, OLD.user_id)
          IS DISTINCT FROM (NEW.lines, NEW.currency, NEW.minimum_order, NEW.restaurant_id, NEW.user_id))
    EXECUTE FUNCTION refuse_ticket_change();

-- Changes of one restaurant's tickets are numbered under its row lock, so they are committed in the order of numbers.
CREATE FUNCTION number_ticket_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.sequence := nextval('ticket_sequence');
    RETURN NEW;
END
$$;
CREATE TRIGGER tickets_numbered BEFORE INSERT OR UPDATE ON tickets FOR EACH ROW EXECUTE FUNCTION number_ticket_change();

-- Once per statement: a batch updates each restaurant's row once.
CREATE FUNCTION record_new_tickets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_transitions (order_id, version, from_state, to_state, at)
    SELECT order_id, version, NULL, state, updated_at FROM added WHERE restaurant_id IS NOT NULL;
    UPDATE restaurants r SET held = held + more.tickets FROM (
        SELECT restaurant_id, count(*)::integer AS tickets FROM added
        WHERE restaurant_id IS NOT NULL AND state IN ('waiting', 'accepted', 'preparing') GROUP BY restaurant_id
    ) AS more WHERE r.id = more.restaurant_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER tickets_added AFTER INSERT ON tickets REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION record_new_tickets();

CREATE FUNCTION record_changed_tickets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_transitions (order_id, version, from_state, to_state, at)
    SELECT order_id, a.version, b.state, a.state, a.updated_at FROM after_change a JOIN before_change b USING (order_id)
    WHERE a.restaurant_id IS NOT NULL AND a.state <> b.state;
    UPDATE restaurants r SET held = held + more.tickets FROM (
        SELECT a.restaurant_id, sum((a.state IN ('waiting', 'accepted', 'preparing'))::integer
            - (b.state IN ('waiting', 'accepted', 'preparing'))::integer)::integer AS tickets
        FROM after_change a JOIN before_change b USING (order_id) WHERE a.state <> b.state GROUP BY a.restaurant_id
    ) AS more WHERE r.id = more.restaurant_id AND more.tickets <> 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER tickets_changed AFTER UPDATE ON tickets REFERENCING OLD TABLE AS before_change NEW TABLE AS after_change
    FOR EACH STATEMENT EXECUTE FUNCTION record_changed_tickets();
