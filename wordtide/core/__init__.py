"""The model, the source's contract and the problems: what every room knows."""
