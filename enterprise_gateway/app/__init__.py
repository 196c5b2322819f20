"""Puts the parts together and runs them: from settings to a serving process, and to its end."""

from enterprise_gateway.app.main import serve

__all__ = ["serve"]
