"""Pairwise-emotion data distribution smoothing (PDDS) and its rivals: what mixup adds to a train part. NumPy only."""
