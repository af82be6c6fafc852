"""What other tools' files set, in a profile's words: one module for each kind of file."""
