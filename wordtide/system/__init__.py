"""Processes, locks, ports, Java and the machine."""
