"""What is computed with a loaded run."""
