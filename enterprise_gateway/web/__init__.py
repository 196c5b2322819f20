"""HTTP: parses requests, asks `kernels`, maps results and errors to responses. The only floor that knows aiohttp."""
