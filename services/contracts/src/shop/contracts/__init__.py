"""The published language: the events that services exchange, and the calls that they make to each other."""
