"""A whole shop on one machine: real stores, one process per service, one supervisor."""
