"""Achievement: entries that belong to a user, one more for every confirmed order."""
