DROP TABLE signing_keys;
DROP TABLE sign_in_failures;
DROP TABLE refresh_tokens;
DROP TABLE token_families;
DROP TABLE addresses;
DROP TABLE users;
