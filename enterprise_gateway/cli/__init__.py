"""The command `jupyter enterprisegateway`.

`application` is the command itself. Subcommands (`kernel_commands`, `images_command`) lie in modules beside it, are
named in `EnterpriseGatewayApp.subcommands`, and are imported only when they are asked for.
"""

from __future__ import annotations

from enterprise_gateway.cli.application import EnterpriseGatewayApp


def main(argv: list[str] | None = None) -> None:
    """Run the command with `argv` (the process's own when None) and end the process with its exit status."""
    EnterpriseGatewayApp.launch_instance(argv)
