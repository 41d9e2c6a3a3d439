"""Pure decisions about what the next batch takes."""
