"""What the administrator wants: files, their schema, the language of CPU sets, settings."""
