"""Networks to take away: model folders, and the formats of other runtimes."""
