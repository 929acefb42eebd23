"""What a task writes to the log."""
