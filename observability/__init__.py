"""What the shop shows of itself: signals, rules, dashboards and runbooks, and what is generated from them."""
