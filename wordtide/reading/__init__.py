"""A split reads itself as text."""
