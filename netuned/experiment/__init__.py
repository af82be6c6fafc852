"""What makes a difference: arms that take turns, and whether what is measured is more than noise.

Of the daemon nothing imports it, and of the commands `netunedctl experiment` alone.
"""
