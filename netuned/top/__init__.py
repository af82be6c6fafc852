"""What ``netunedctl top`` shows: rows from two samples, as text, and on a terminal's screen."""
