-- transactional: false
-- depends: 0002.search-folding

-- The newest products first, without sorting all of them. Concurrently: stock is reserved while a large table gets its
-- index. An attempt that failed leaves an invalid index.
DROP INDEX CONCURRENTLY IF EXISTS products_by_age;
CREATE INDEX CONCURRENTLY products_by_age ON products (created_at, id);
