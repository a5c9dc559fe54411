DROP TABLE order_transitions;
DROP TABLE sagas;
DROP TABLE orders;
DROP FUNCTION refuse_illegal_transition;
DROP FUNCTION refuse_other_start;
