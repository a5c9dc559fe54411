DROP INDEX notifications_of_order;
