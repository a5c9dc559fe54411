"""What keeps Shops right in a cluster: watch, queue, render, apply in waves, judge health, prune, tell."""
