"""Orders: the saga that reserves, quotes, charges and confirms."""
