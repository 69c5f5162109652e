"""Judgment of a ranking, from hits to a verdict. Needs no torch."""
