"""The Shop resource, its operator, and shopctl."""
