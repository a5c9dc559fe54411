DROP TABLE reservation_lines;
DROP TABLE reservations;
DROP TABLE stock_movements;
DROP TABLE products;
DROP FUNCTION refuse_reservation_change();
