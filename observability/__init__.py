"""What operates the shop is built from: the matrix of signals, and what is generated from it."""
