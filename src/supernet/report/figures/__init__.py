"""Figures of a run, one module each; `collection` names them."""
