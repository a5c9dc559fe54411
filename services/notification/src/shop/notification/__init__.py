"""Email and SMS, sent once per event."""
