"""Rows of a task to examples, sequences and batches."""
