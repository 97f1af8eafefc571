"""The commands, wiring only: each has its root config and run(config) -> result."""
