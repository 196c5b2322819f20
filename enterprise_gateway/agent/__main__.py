"""An agent's container: `python -m enterprise_gateway.agent [ROOT [PORT]]`, both for running it outside of a pod."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from enterprise_gateway.agent import pod
from enterprise_gateway.core.pods import AGENT_PORT, POD_IP_VARIABLE, POD_NAME_VARIABLE


def main() -> None:
    """Be the agent of this pod."""
    root, port = [*sys.argv[1:], *("/", str(AGENT_PORT))[len(sys.argv) - 1 :]]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    # The gateway's `environ` would bring all of the gateway along.
    host, name = (os.environ.get(variable, "") for variable in (POD_IP_VARIABLE, POD_NAME_VARIABLE))
    pod.run(Path(root), int(port), host, name)


if __name__ == "__main__":
    main()
