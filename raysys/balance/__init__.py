"""Pairwise-emotion data distribution smoothing (PDDS) and what it is compared with: mixtures for a train part. NumPy only."""
