"""Accounts, addresses, passwords and tokens."""
