"""What a running host counts, as frozen samples whose differences are rates.

Everything that shows load reads these, and nothing else counts.
"""
