"""Food: restaurants, the cart of one restaurant, its checkout, an order that is followed on a map, and staff pages."""
