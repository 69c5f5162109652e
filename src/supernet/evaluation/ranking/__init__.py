"""From hits to a verdict on a ranking. Needs no torch."""
