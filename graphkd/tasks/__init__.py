"""What can be trained: one file per task, found by the name in `TASK`."""
