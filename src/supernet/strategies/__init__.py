"""What a search asks for next, under which limits. Needs no torch."""
