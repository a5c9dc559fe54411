DROP TABLE models;
DROP TABLE training;
DROP TABLE revision;
DROP TABLE deleted_customers;
DROP TABLE purchases;
DROP TABLE orders;
DROP TABLE products;
DROP TABLE customers;
