"""Compatibility with other packages' Python interfaces."""
