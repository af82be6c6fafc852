"""What costs a running host packets, CPU time or latency, found in facts and two samples.

Read-only, and without a daemon, a profile or a tool: each finding is a pure function.
"""
