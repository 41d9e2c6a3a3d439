"""The code location: definitions, sensors, jobs, schedules."""
