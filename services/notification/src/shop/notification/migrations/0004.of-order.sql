-- Administrators look up what was sent about one order.
CREATE INDEX notifications_of_order ON notifications (order_id) WHERE order_id IS NOT NULL;
