"""Bringing a Shop to the state that its spec asks for."""
