"""This platform's assets."""
