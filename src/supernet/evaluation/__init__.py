"""What an architecture is worth, what it costs, and whether a ranking can be trusted."""
