"""The text wing: text and labels in, numpy batches out; knows no jax."""
