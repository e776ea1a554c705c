"""Class similarity, in NumPy only."""
