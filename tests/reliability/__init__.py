"""Kills, damage, full disks, mutated inputs: `python -m tests.reliability --help`."""
