"""What is wrong is told once: decided in `decide`, kept in a cursor, sent by `channels`."""
