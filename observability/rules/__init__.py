"""Recording rules, service level objectives and alerts of Prometheus."""
