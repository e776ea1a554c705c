"""Studies: Tune trials that share one fold pool, Optuna's proposals, and a result that selects on validation alone."""
