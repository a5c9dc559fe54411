"""The Shop resource: its models, checks and definition, the rights to its objects, and reading one from a file."""
