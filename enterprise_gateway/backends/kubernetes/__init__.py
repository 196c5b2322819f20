"""Kernels as pods: the cluster is where they run and the only database."""
