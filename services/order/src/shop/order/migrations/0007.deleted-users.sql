-- depends: 0006.food-turned-off

-- The note of a pending order is still to reach the kitchen. Of a deleted user it leaves, with the phone number, when the
-- order is pending no longer. The lock on the digests is the one that shop.kit.deleted_users explains.
CREATE FUNCTION erase_contacts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM deleted_user_digest WHERE digest = sha256(uuid_send(NEW.user_id)) FOR KEY SHARE) THEN
        UPDATE food_orders SET phone = NULL, note = '' WHERE order_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER contacts_erased AFTER UPDATE OF state ON orders FOR EACH ROW
    WHEN (OLD.state = 'pending' AND NEW.state <> 'pending' AND NEW.kind = 'food') EXECUTE FUNCTION erase_contacts();
