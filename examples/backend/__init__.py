"""A small backend: its settings, and two programs that call a chat model and an embedding model through a Router."""
