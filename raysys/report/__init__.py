"""What a finished command says: typed results, tables and pictures; and what a running one shows."""
