"""Makes the town's data, a JSON file of the package, from a fixed seed: `python -m shop.town.generate`."""
