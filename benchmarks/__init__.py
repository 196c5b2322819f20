"""What the gateway costs, measured beside what the same machine does without it.

Run `python -m benchmarks`. Every row is measured in one run with its floor: a client that talks to the
kernel's ZMQ ports directly, with no gateway in between. Ratios survive a change of machine; absolute
numbers do not.
"""
