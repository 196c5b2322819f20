"""The range of ports kernels may use, `lo..hi`, as in `EG_PORT_RANGE` and in the `config` of a kernel.json.

Pure. Whether a port of the range is free is for those who bind it to find out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(r"\s*(\d{1,5})\s*\.\.\s*(\d{1,5})\s*", re.ASCII)
_LOWEST, _HIGHEST = 1024, 65535


class PortRange(NamedTuple):
    """Ports from `lower` to `upper`; both equal means no restriction, which is how EG writes it."""

    lower: int = 0
    upper: int = 0

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read `lo..hi`.

        Raises:
            ValueError: the text has another form. Whether the numbers make sense, `problem` says.
        """
        match = _RANGE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a port range: write lower..upper, such as 40000..41000")
        return cls(int(match[1]), int(match[2]))

    @property
    def size(self) -> int:
        """How many ports there are to choose from; 0 means any."""
        return self.upper - self.lower

    def problem(self, min_size: int) -> str | None:
        """What is wrong with this range, in words that follow "the range lo..hi", or None when nothing is."""
        if self.size == 0:
            return None
        if self.size < min_size:
            return f"has {self.size} ports: at least {min_size} are required (EG_MIN_PORT_RANGE_SIZE)"
        if self.lower < _LOWEST or self.upper > _HIGHEST:
            return f"leaves {_LOWEST}..{_HIGHEST}"
        return None

    def __str__(self) -> str:
        return f"{self.lower}..{self.upper}"
