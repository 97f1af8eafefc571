"""A run: its folder, opening it, starting from it, training it."""
