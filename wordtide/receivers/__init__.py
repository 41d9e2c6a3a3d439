"""What listens or connects out, and lands what comes (a TCP server's lines, Flume agents' events) as whole files."""
