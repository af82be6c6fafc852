"""One page that shows a host: where its queues are, what is wanted of them, what they cost.

A page is made of what was seen (frozen), and nothing here writes to the kernel.
"""
