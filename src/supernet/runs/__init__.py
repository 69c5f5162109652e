"""Runs on disk, and the processes they run in."""
