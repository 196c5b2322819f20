"""The subcommand `images`: what kernel specs need on a cluster's nodes."""

from __future__ import annotations

import argparse
import sys

import yaml
from traitlets.config import Application

from enterprise_gateway import config
from enterprise_gateway.config import Settings
from enterprise_gateway.environ import snapshot
from enterprise_gateway.errors import ConfigError
from enterprise_gateway.kernelspecs.catalog import Catalog, jupyter_kernel_dirs
from enterprise_gateway.kernelspecs.images import daemon_set, images_of


class ImagesCommand(Application):
    """Show the container images that the kernel specs name, one a line.

    Specs that name none have that of EG_KERNEL_IMAGE; agents have that of EG_AGENT_IMAGE.
    """

    _arguments: argparse.Namespace

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the command line; a wrong one ends the process with status 2."""
        parser = argparse.ArgumentParser(prog="jupyter enterprisegateway images", description=type(self).__doc__)
        parser.add_argument(
            "--daemonset", action="store_true", help="print a DaemonSet for kubectl that keeps them on every node"
        )
        parser.add_argument("--image", action="append", default=[], metavar="IMAGE", help="one more; may be repeated")
        self._arguments = parser.parse_args(argv)

    def start(self) -> None:
        """Print them.

        Raises:
            ConfigError: a setting is wrong, or there is no image.
        """
        settings = config.build([config.from_environ(snapshot())])
        images = sorted({*_images(settings), *self._arguments.image})
        if not images:
            raise ConfigError("no kernel spec names an image, and EG_KERNEL_IMAGE is not set")
        if self._arguments.daemonset:
            sys.stdout.write(yaml.safe_dump(daemon_set(images), sort_keys=False))
        else:
            sys.stdout.writelines(f"{image}\n" for image in images)


def _images(settings: Settings) -> list[str]:
    catalog = Catalog(
        jupyter_kernel_dirs(),
        default_name=settings.default_kernel_name,
        allowed=frozenset(settings.allowed_kernels) or None,
    )
    own = [settings.agent_image] if settings.agent_image else []
    return [*own, *images_of(catalog.all().values(), settings.kernel_image)]
