"""What can be done: one verb a file, `python -m jobs.VERB`. Each imports its work after its arguments are right."""
