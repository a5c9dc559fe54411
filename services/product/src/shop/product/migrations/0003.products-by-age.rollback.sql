-- transactional: false

DROP INDEX CONCURRENTLY IF EXISTS products_by_age;
