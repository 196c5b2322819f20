"""The command `jupyter enterprisegateway`.

`application` is the command itself. A subcommand is a module of its own beside it, named in
`EnterpriseGatewayApp.subcommands`, and imported only when it is asked for.
"""

from __future__ import annotations

from enterprise_gateway.cli.application import EnterpriseGatewayApp


def main(argv: list[str] | None = None) -> None:
    """Run the command with `argv` (the process's own when None) and end the process with its exit status."""
    EnterpriseGatewayApp.launch_instance(argv)
