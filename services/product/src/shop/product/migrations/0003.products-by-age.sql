-- The newest products first, without sorting all of them.
CREATE INDEX products_by_age ON products (created_at, id);
