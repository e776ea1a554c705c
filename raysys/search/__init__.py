"""All the Tune and Optuna there is: the space, the searcher, the scheduler, and the journal of a study."""
