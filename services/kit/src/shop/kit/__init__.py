"""Mechanism shared by every service; it knows no noun of the shop."""
