-- depends: 0001.initial

-- What a kitchen has of a deleted user leaves when the ticket ends; before that it is needed, an allergy may be noted.
-- The lock on the digests is the one that shop.kit.deleted_users explains.
CREATE FUNCTION erase_ended_ticket() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM deleted_user_digest WHERE digest = sha256(uuid_send(NEW.user_id)) FOR KEY SHARE) THEN
        NEW.customer_name := '';
        NEW.note := '';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER tickets_erased BEFORE UPDATE OF state ON tickets FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND NEW.state IN ('rejected', 'picked_up', 'cancelled') AND NEW.user_id IS NOT NULL)
    EXECUTE FUNCTION erase_ended_ticket();

-- The courier's name is for the time until the delivery ends.
CREATE FUNCTION erase_courier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.courier_name := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER tickets_without_courier BEFORE UPDATE OF delivery_state ON tickets FOR EACH ROW
    WHEN (NEW.delivery_state IN ('delivered', 'failed', 'cancelled') AND NEW.courier_name IS NOT NULL)
    EXECUTE FUNCTION erase_courier();
