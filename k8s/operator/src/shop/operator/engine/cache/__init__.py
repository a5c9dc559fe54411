"""What is known of the cluster: informers, the store they fill, and the queue of Shops to look at."""
