"""shopctl for Shops in a cluster: what would change, how a Shop is, whether its promises hold."""
