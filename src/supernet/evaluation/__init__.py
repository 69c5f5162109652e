"""Scores and costs of architectures, and trust in their ranking."""
