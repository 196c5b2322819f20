"""Puts the parts together and runs them: from settings to a serving process, and to its end."""

from enterprise_gateway.app.main import serve
from enterprise_gateway.app.reload import Configuration

__all__ = ["Configuration", "serve"]
