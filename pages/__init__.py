"""The manual pages, and what completes commands in shells: made when netuned is built."""
