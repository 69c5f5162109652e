"""What a network is for: the loss of a batch, and a score per sample (higher is better)."""
