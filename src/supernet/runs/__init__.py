"""What a run is on disk, and the processes it runs in."""
