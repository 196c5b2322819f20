"""The measuring clients: processes of their own, so that their CPU time is nobody else's."""
