"""The operator of Shops in a cluster: watch, queue, render, apply in waves, assess health, prune, report."""
