"""What a user calls: one command a module, on top of what any of them needs to run."""
