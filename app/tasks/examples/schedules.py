"""Tasks that beat sends."""
