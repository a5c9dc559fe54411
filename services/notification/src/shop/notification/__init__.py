"""E-mail and SMS, sent once per event."""
