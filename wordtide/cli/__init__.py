"""The command line: one module a command or a close family of commands."""
