"""How a stream stands at one moment."""
