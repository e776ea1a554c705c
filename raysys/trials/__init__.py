"""A configuration on all its folds, what became of it, and who is told: the words of everything above. Plain Python."""
