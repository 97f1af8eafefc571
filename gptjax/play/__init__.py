"""Runs to play with, in a browser on the same machine."""
