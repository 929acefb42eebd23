"""Tasks that do more than arithmetic."""
