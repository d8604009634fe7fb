"""The tasks, one file each; a config selects one by its name in `TASK`."""
