"""What listens or connects out, and lands what comes: a TCP line server's lines as files that appear whole."""
