"""Runs as tables, figures and one page."""
