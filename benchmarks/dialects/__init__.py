"""What the dialects cost."""
