"""The subcommands `list`, `stop`, `logs` and `why`: their arguments, what they print, and what they end with.

Exit status: 0 when everything was done, 1 when something could not be (said on stderr), 2 when the command line or
the configuration is wrong. traitlets starts them; their arguments are argparse's.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import time
from typing import ClassVar

import msgspec
from traitlets.config import Application

from enterprise_gateway.cli import render
from enterprise_gateway.cli.kernels import Kernels, find_kernel
from enterprise_gateway.environ import snapshot
from enterprise_gateway.errors import ConfigError, GatewayError

UNLIMITED = 100_000
"""The width of what is no terminal."""
_INTERRUPTED = 130
_EPILOG = """Without --url, the kernels of this machine's state folder are meant (EG_STATE_DIR), whether a gateway runs
or not. With --url, the token comes from --token-file, EG_AUTH_TOKEN or JUPYTER_GATEWAY_AUTH_TOKEN."""


class KernelCommand(Application):
    """What the four have in common."""

    verb: ClassVar[str]
    _arguments: argparse.Namespace

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line; a wrong one ends the process with status 2."""
        parser = argparse.ArgumentParser(
            prog=f"jupyter enterprisegateway {self.verb}", description=type(self).__doc__, epilog=_EPILOG
        )
        parser.add_argument("--url", help="the gateway to ask, with its base URL if it has one")
        parser.add_argument("--token-file", metavar="FILE", help="a file with nothing but the token for --url")
        self.define(parser)
        self._arguments = parser.parse_args(argv)
        if self._arguments.token_file is not None and self._arguments.url is None:
            parser.error("--token-file needs --url")
        self.check(parser, self._arguments)

    def start(self) -> None:
        """Do it, and end the process with 1 when not all of it could be done."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        try:
            status = self.run(self._kernels(), self._arguments)
            sys.stdout.flush()
        except ConfigError:
            raise
        except (GatewayError, OSError) as error:
            status = self._failed(error)
        except KeyboardInterrupt:
            status = _INTERRUPTED
        sys.exit(status)

    def define(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of this subcommand."""

    def check(self, parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
        """Refuse, with `parser.error`, what makes no sense together."""

    def run(self, kernels: Kernels, arguments: argparse.Namespace) -> int:
        """Do what the subcommand is for; its exit status.

        Raises:
            GatewayError: it could not be done.
        """
        raise NotImplementedError

    def complain(self, message: str) -> int:
        """Say on stderr what could not be done; the exit status for it."""
        sys.stderr.write(f"jupyter enterprisegateway {self.verb}: {message}\n")
        return 1

    def _kernels(self) -> Kernels:
        url = self._arguments.url
        if url is None:
            return self._local()
        from enterprise_gateway.cli.address import has_token, parse_address  # noqa: PLC0415 - only for --url
        from enterprise_gateway.cli.remote import RemoteKernels  # noqa: PLC0415

        address = parse_address(url, self._arguments.token_file, snapshot())
        if has_token(url):
            self.complain("everybody on this machine can see a token in --url (ps); --token-file hides it")
        return RemoteKernels(address)

    def _local(self) -> Kernels:
        from enterprise_gateway.cli.application import EnterpriseGatewayApp  # noqa: PLC0415 - it imports us by name
        from enterprise_gateway.cli.local import LocalKernels  # noqa: PLC0415 - not needed for --url

        assert isinstance(self.parent, EnterpriseGatewayApp)  # noqa: S101 - traitlets makes subcommands like this
        return LocalKernels(self.parent.read(snapshot()).settings)

    def _failed(self, error: GatewayError | OSError) -> int:
        if isinstance(error, BrokenPipeError):
            # The reader, such as `head`, has enough. What is left in the buffer must not be tried again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return self.complain(error.message if isinstance(error, GatewayError) else str(error))


class ListCommand(KernelCommand):
    """Show the kernels that have not ended, oldest first."""

    verb = "list"

    def define(self, parser: argparse.ArgumentParser) -> None:
        """Add `--json`."""
        _add_json(parser)

    def run(self, kernels: Kernels, arguments: argparse.Namespace) -> int:
        """Print a table, or a JSON array of what `why --json` prints."""
        living = kernels.living()
        if arguments.json:
            _print_json(living)
        elif living:
            print(render.table(living, time.time(), shutil.get_terminal_size((UNLIMITED, 0)).columns))  # noqa: T201
        else:
            print(f"No kernels at {kernels.where}")  # noqa: T201
        return 0


class StopCommand(KernelCommand):
    """End kernels, politely first, and forget them."""

    verb = "stop"

    def define(self, parser: argparse.ArgumentParser) -> None:
        """Add the kernels and `--all`."""
        parser.add_argument("kernels", metavar="KERNEL", nargs="*", help="an id, or the beginning of one")
        parser.add_argument("--all", action="store_true", help="end every kernel")

    def check(self, parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
        """Either kernels or all of them."""
        if bool(arguments.kernels) == arguments.all:
            parser.error("name kernels, or give --all" if not arguments.all else "--all takes no kernels")

    def run(self, kernels: Kernels, arguments: argparse.Namespace) -> int:
        """End those that can be found, whatever is wrong with the others."""
        status = 0
        found: list[str] = []
        if arguments.all:
            found = [history.kernel.id for history in kernels.living()]
        for named in arguments.kernels:
            try:
                found.append(find_kernel(kernels, named))
            except GatewayError as error:
                status = self.complain(error.message)
        found = list(dict.fromkeys(found))
        problems = kernels.stop(found)
        for kernel_id in found:
            if kernel_id in problems:
                status = self.complain(problems[kernel_id])
            else:
                print(f"Stopped {kernel_id}")  # noqa: T201
        return status


class LogsCommand(KernelCommand):
    """Show the last of what a kernel's process wrote outside of cells."""

    verb = "logs"

    def define(self, parser: argparse.ArgumentParser) -> None:
        """Add the kernel."""
        _add_kernel(parser)

    def run(self, kernels: Kernels, arguments: argparse.Namespace) -> int:
        """Print it as it is."""
        sys.stdout.write(kernels.logs(find_kernel(kernels, arguments.kernel)))
        return 0


class WhyCommand(KernelCommand):
    """Tell everything known of a kernel, also for a while after its end."""

    verb = "why"

    def define(self, parser: argparse.ArgumentParser) -> None:
        """Add the kernel and `--json`."""
        _add_kernel(parser)
        _add_json(parser)

    def run(self, kernels: Kernels, arguments: argparse.Namespace) -> int:
        """Print it for people, or as one JSON object."""
        history = kernels.why(find_kernel(kernels, arguments.kernel))
        if arguments.json:
            _print_json(history)
        else:
            print(render.explanation(history, time.time()))  # noqa: T201
        return 0


def _add_kernel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kernel", metavar="KERNEL", help="an id, or the beginning of one")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n")
