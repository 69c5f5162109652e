"""The command line. Importing it needs no torch."""
