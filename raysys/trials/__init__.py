"""A configuration on all its folds, what became of it, and who is notified: the types that others use. Plain Python."""
