"""What a worker accepts."""
