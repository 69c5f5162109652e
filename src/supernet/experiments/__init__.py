"""Whole studies, from settings to a judged run: one-shot against standalone."""
