DROP TRIGGER contacts_erased ON orders;
DROP FUNCTION erase_contacts();
