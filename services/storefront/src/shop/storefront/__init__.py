"""The shop in the browser, rendered on the server."""
