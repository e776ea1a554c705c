"""How any command runs: plan, run folder, session, one runner of trials and their sources, opening, report."""
