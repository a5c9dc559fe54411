DROP INDEX notifications_about;
DROP TABLE deleted_users;
