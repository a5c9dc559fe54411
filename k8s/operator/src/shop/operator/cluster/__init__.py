"""shopctl for Shops in a cluster: plan, status, audit, backup, logs."""
