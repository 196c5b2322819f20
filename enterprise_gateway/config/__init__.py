"""What the gateway can be told, and how it is told.

`settings` is the table, `build` reads it from sources, `names` knows the names that are not in it.
"""

from enterprise_gateway.config.build import Given, Source, build, from_environ, from_traits, read, strongest
from enterprise_gateway.config.names import Remark, remarks_on_environ, remarks_on_traits
from enterprise_gateway.config.ports import PortRange
from enterprise_gateway.config.settings import Settings

__all__ = [
    "Given",
    "PortRange",
    "Remark",
    "Settings",
    "Source",
    "build",
    "from_environ",
    "from_traits",
    "read",
    "remarks_on_environ",
    "remarks_on_traits",
    "strongest",
]
