"""Which instance of a service gets the next request. No input or output here, and the clock is an argument."""
