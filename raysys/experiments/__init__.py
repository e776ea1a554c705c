"""What is run: plan, run folder, one runner of trials, their sources, and the commands that use them."""
