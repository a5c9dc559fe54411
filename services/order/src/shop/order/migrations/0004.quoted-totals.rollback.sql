ALTER TABLE orders
    DROP CONSTRAINT sold_orders_have_a_total,
    ADD CONSTRAINT sold_orders_are_priced CHECK (
        state IN ('pending', 'rejected')
        OR total IS NOT NULL AND total = subtotal - discount + tax + shipping
    ) NOT VALID;
