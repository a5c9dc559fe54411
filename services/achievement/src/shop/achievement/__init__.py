"""Achievement: rules over what players do, each unlocked once."""
