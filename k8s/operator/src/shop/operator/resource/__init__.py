"""The Shop resource: its models, their checks, its definition for Kubernetes, and reading one from a file."""
