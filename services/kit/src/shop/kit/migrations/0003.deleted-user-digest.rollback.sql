DROP TABLE deleted_user_digest;
