"""Kernels as processes of this machine; the state folder is the database."""
