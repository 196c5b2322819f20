"""The protocols between client, gateway, agent and kernel, as bytes in and bytes or events out.

Pure: no sockets, no clock, no logger. `http1` and `websocket` are the transport's; `legacy` and `v1` are the
two forms of a Jupyter message on a websocket, `kernel` its form on ZMQ, and `message` what they share.
"""
