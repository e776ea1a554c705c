"""Training one fold: torch only, no Ray."""
