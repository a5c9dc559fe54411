"""For every test of the project: Hypothesis judges what is right, not how fast the machine is."""

from hypothesis import settings

settings.register_profile("shop", deadline=None)
settings.load_profile("shop")
