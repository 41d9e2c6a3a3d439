"""An operator puts things right: decisions about what is parked, replays of what was published."""
