"""The control room: what the shop does now, its traces, the journey of an order."""
