"""The training wing: devices, steps and files of a run; knows no model, no text, no task."""
