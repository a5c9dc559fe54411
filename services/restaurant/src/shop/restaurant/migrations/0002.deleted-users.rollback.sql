DROP TRIGGER tickets_without_courier ON tickets;
DROP FUNCTION erase_courier();
DROP TRIGGER tickets_erased ON tickets;
DROP FUNCTION erase_ended_ticket();
