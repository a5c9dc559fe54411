"""The audit: what must hold in a shop whatever happened to it, checked from outside against its databases."""
