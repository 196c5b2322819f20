"""`jupyter enterprisegateway` as a Jupyter application.

It knows where settings come from and in which order, shows them, and hands them to `app.serve`. It refuses to
know what they mean. Of `JupyterApp` it leaves out: the search for `jupyter-…` programs to run instead, the
migration of files from IPython 3, the event loop, and logging of its own.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from jupyter_core.application import JupyterApp, base_flags
from traitlets import Dict, Unicode, default

from enterprise_gateway import __version__, config
from enterprise_gateway.cli import files
from enterprise_gateway.cli.arguments import Loader, spelled
from enterprise_gateway.cli.traits import setting_traits
from enterprise_gateway.config import Given, Remark, Settings, Source
from enterprise_gateway.config.names import ignored_names
from enterprise_gateway.config.option import APP, Field, table
from enterprise_gateway.config.page import config_file
from enterprise_gateway.environ import snapshot
from enterprise_gateway.errors import ConfigError

_log = logging.getLogger(__name__)

_BASES = ("JupyterApp", "Application")
_ALIASES = {
    "ip": f"{APP}.ip",
    "port": f"{APP}.port",
    "port_retries": f"{APP}.port_retries",
    "certfile": f"{APP}.certfile",
    "keyfile": f"{APP}.keyfile",
    "client-ca": f"{APP}.client_ca",
    "ssl_version": f"{APP}.ssl_version",
    "log-level": f"{APP}.log_level",
    "config": "JupyterApp.config_file",
}
_FLAGS = {**base_flags, "elyra": ({}, "Accepted for deployments of 2018; has no effect.")}
_SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "list": ("enterprise_gateway.cli.kernel_commands.ListCommand", "Show the kernels."),
    "stop": ("enterprise_gateway.cli.kernel_commands.StopCommand", "End kernels."),
    "logs": ("enterprise_gateway.cli.kernel_commands.LogsCommand", "Show what a kernel's process wrote."),
    "why": ("enterprise_gateway.cli.kernel_commands.WhyCommand", "Tell everything known of a kernel."),
    "images": ("enterprise_gateway.cli.images_command.ImagesCommand", "Show the images that kernel specs name."),
}
"""Names, and for each the import path of its application class and a line of help."""


class Reading(NamedTuple):
    """What all sources together say."""

    settings: Settings
    given: Source
    """For each setting that somebody gave, what counts and who says so."""
    files: list[files.ConfigFile]


class EnterpriseGatewayApp(JupyterApp):
    """Starts Jupyter kernels, keeps them, and lets clients use them over HTTP and websockets."""

    name = "jupyter-enterprise-gateway"
    version = __version__
    description = __doc__
    examples = """
        jupyter enterprisegateway --ip=0.0.0.0 --port=9000
        EG_AUTH_TOKEN=... jupyter enterprisegateway --EnterpriseGatewayApp.max_kernels=20
        jupyter enterprisegateway --generate-config
    """
    aliases = _ALIASES
    flags = _FLAGS
    subcommands = _SUBCOMMANDS

    # Not configurable here: logs have a shape of their own (EG_LOG_FORMAT).
    log_datefmt = Unicode()
    logging_config = Dict()

    # A class body's namespace is what `locals()` returns there (PEP 667).
    locals().update(setting_traits())

    exit_status = 0
    """What the process should end with after `start`."""

    _spelled: dict[str, str]

    @classmethod
    def launch_instance(cls, argv: list[str] | None = None, **kwargs: Any) -> NoReturn:
        """Run the command and end the process; what is wrong with its configuration is one line on stderr."""
        try:
            application = cls(**kwargs)
            application.initialize(argv)
            application.start()
        except ConfigError as error:
            _fail(error.message)
        except EOFError:
            _fail("there is nobody to answer; -y says yes to all questions")
        sys.exit(application.exit_status)

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line.

        Raises:
            ConfigError: it has an option or an argument that means nothing.
        """
        self._spelled = {}
        self.parse_command_line(argv)
        if self.subapp is None and self.extra_args:
            raise ConfigError(f"{self.extra_args[0]!r} is not expected here; options start with --")

    def start(self) -> None:
        """Serve until told to stop, or do what a flag or a subcommand says instead.

        Raises:
            ConfigError: the settings are wrong.
        """
        if self.subapp is not None:
            self.subapp.start()
        elif self.generate_config:
            self.write_default_config()
        else:
            self.exit_status = self._serve()

    def read(self, environ: Mapping[str, str]) -> Reading:
        """What the command line, the configuration files as they are now, and `environ` amount to.

        Raises:
            ConfigError: a value is wrong, or a file fails.
        """
        environment = config.from_environ(environ)
        paths = files.find(self.config_file_paths, ["jupyter_config"])
        if self.config_file:
            paths += files.explicit(self.config_file)
        else:
            paths += files.find(self.config_file_paths, [self.config_file_name])
        loaded = files.load(paths, environment)
        from_files = [config.from_traits(file.given) for file in reversed(loaded)]
        sources = [config.from_traits(self._command_line()), *from_files, environment]
        return Reading(config.build(sources), config.strongest(sources), loaded)

    def remarks(self, environ: Mapping[str, str], loaded: Sequence[files.ConfigFile]) -> list[Remark]:
        """What there is to say about names in `environ`, files and options that are not settings."""
        own = _own_traits()
        given = [self._command_line(), *(file.given for file in loaded)]
        on_traits = [remark for names in given for remark in config.remarks_on_traits(names, own)]
        return [*config.remarks_on_environ(environ), *on_traits]

    def start_show_config(self) -> None:
        """Show what is set, by whom, and nothing secret; traitlets calls this instead of `start`."""
        _, given, loaded = self.read(snapshot())
        shown = {field.name: _shown(field, given[field.name]) for field in table(Settings) if field.name in given}
        if self.show_config_json:
            lines = [json.dumps({APP: shown}, indent=1, sort_keys=True)]
        else:
            lines = [f"Loaded {file.path}" for file in loaded]
            lines += [f"{APP}.{name} = {value!r}  ({given[name].origin})" for name, value in shown.items()]
        sys.stdout.write("".join(f"{line}\n" for line in lines))

    def generate_config_file(self, classes: Any = None) -> str:  # noqa: ARG002 - the signature is traitlets'
        """The configuration file that `--generate-config` writes."""
        return config_file()

    def exit(self, exit_status: int | str | None = 0) -> NoReturn:
        """End the process; traitlets says 1 where a value is wrong, which is 2 in this command."""
        sys.exit(2 if exit_status == 1 else exit_status)

    def _serve(self) -> int:
        from enterprise_gateway import app  # noqa: PLC0415 - `--help` need not wait for a web server
        from enterprise_gateway.app import logs  # noqa: PLC0415
        from enterprise_gateway.core.secret import Secret  # noqa: PLC0415

        environ = snapshot()
        settings, _, loaded = self.read(environ)
        logs.configure(settings.log_level, settings.log_format, [Secret(settings.auth_token or "")])
        for remark in self.remarks(environ, loaded):
            _log.log(remark.level, "%s", remark.text)
        configuration = app.Configuration([file.path for file in loaded], lambda: self.read(environ).settings)
        return app.serve(settings, environ, configuration)

    def _command_line(self) -> dict[str, Given]:
        return {
            f"{owner}.{trait}": Given(_written(value), self._spelled[f"{owner}.{trait}"])
            for owner, traits in self.cli_config.items()
            for trait, value in traits.items()
        }

    # What follows takes the place of traitlets' own.

    def _create_loader(self, argv: list[str] | None, aliases: Any, flags: Any, classes: Any) -> Loader:
        self._spelled = spelled(argv or [], aliases, flags, _own_traits())
        return Loader(argv, aliases, flags, log=self.log, classes=classes, subcommands=self.subcommands)

    def _classes_with_config_traits(self, classes: Any = None) -> Any:  # noqa: ARG002
        yield type(self)

    @default("log")
    def _log_default(self) -> logging.Logger:
        """The logger of traitlets' own code: its warnings are about names that `remarks` explains better."""
        quiet = logging.getLogger(f"{__name__}.traitlets")
        quiet.setLevel(logging.ERROR)
        return quiet

    def _configure_logging(self) -> None:
        """Leave logging to `app.logs`."""

    def _observe_logging_change(self, change: Any) -> None:
        """Leave logging to `app.logs`."""


def _own_traits() -> set[str]:
    """The names of the traits that every Jupyter application has and this one uses."""
    traits = {f"{owner}.{name}" for owner in (APP, *_BASES) for name in JupyterApp.class_traits(config=True)}
    return traits - ignored_names()


def _written(value: Any) -> Any:
    """A value as it was written, without the types by which traitlets remembers to read it later."""
    if isinstance(value, list):
        return [str(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _shown(field: Field, given: Given) -> Any:
    return "********" if field.option.secret else field.option.kind.plain(config.read(field, given))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"jupyter enterprisegateway: {message}\n")
    sys.exit(2)
