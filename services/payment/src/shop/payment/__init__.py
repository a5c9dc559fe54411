"""Payments: charges, refunds and the double-entry ledger."""
