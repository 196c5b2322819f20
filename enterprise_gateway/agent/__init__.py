"""The process beside each kernel: holds its ZMQ sockets and all its Jupyter state, and outlives every gateway."""
