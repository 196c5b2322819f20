"""Jupyter kernels that run anywhere, outlive every server and lose no output."""

__version__ = "4.0.0.dev0"
