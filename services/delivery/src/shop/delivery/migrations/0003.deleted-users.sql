-- depends: 0002.kitchen-states

CREATE INDEX deliveries_of_user ON deliveries (user_id);

-- The lock on the digests is the one that shop.kit.deleted_users explains.
CREATE FUNCTION was_deleted(of_user uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (SELECT FROM deleted_user_digest WHERE digest = sha256(uuid_send(of_user)) FOR KEY SHARE);
END
$$;

-- Where a deleted user lives leaves with the end of the delivery: then it goes to where it came from. An ended delivery
-- may be without a junction.
ALTER TABLE deliveries DROP CONSTRAINT only_tombstones_are_empty;
ALTER TABLE deliveries ADD CONSTRAINT only_tombstones_are_empty CHECK (state = 'released' OR (
    num_nulls(user_id, restaurant_id, restaurant_name, address, pickup_lat, pickup_lon, dropoff_lat, dropoff_lon,
        distance_m, code, ready_at, promised_at, eta) = 0
    AND (dropoff_junction IS NOT NULL OR state IN ('delivered', 'failed', 'cancelled'))));
CREATE FUNCTION erase_ended_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF was_deleted(NEW.user_id) THEN
        NEW.address := '{}';
        NEW.code := '0000';
        NEW.dropoff_lat := NEW.pickup_lat;
        NEW.dropoff_lon := NEW.pickup_lon;
        NEW.dropoff_junction := NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER erased_at_the_end BEFORE UPDATE OF state ON deliveries FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NEW.state IN ('released', 'delivered', 'failed', 'cancelled')
        AND NEW.user_id IS NOT NULL)
    EXECUTE FUNCTION erase_ended_delivery();

-- A deleted courier never has a shift or a name again.
CREATE FUNCTION erase_deleted_courier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF was_deleted(NEW.user_id) THEN
        NEW.name := 'deleted courier';
        NEW.on_shift := false;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER deleted_courier BEFORE INSERT OR UPDATE OF name, on_shift ON couriers FOR EACH ROW
    EXECUTE FUNCTION erase_deleted_courier();
