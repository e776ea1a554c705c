"""Pairwise-emotion data distribution smoothing (PDDS), and other mixtures for a train part, in NumPy only."""
