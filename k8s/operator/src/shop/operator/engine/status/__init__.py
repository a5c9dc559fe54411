"""What is reported of a Shop: conditions, health, Events."""
