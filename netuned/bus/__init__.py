"""D-Bus: the daemon's service and the command line's client."""
