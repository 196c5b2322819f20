"""Decides about kernels and sessions: who may, how many, with what environment.

Knows neither HTTP nor what a backend does inside.
"""
