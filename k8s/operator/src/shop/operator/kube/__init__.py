"""The API server: login, client, errors, and the kinds of object."""
