"""Whole studies: one-shot against standalone, from settings to a judged run."""
