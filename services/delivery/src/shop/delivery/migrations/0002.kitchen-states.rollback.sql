DROP INDEX deliveries_in_line;
DROP TABLE kitchen_states;
