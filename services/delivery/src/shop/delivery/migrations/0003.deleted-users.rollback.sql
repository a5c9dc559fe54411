DROP TRIGGER deleted_courier ON couriers;
DROP FUNCTION erase_deleted_courier();
DROP TRIGGER erased_at_the_end ON deliveries;
DROP FUNCTION erase_ended_delivery();
DROP FUNCTION was_deleted(uuid);
DROP INDEX deliveries_of_user;
