"""From a Shop to the objects that it consists of."""
