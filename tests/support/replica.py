"""One replica past the Service, with the `url`, `ws_url`, `token` and `rest` that a gateway has."""

from __future__ import annotations

from dataclasses import dataclass

from support.deployed import Deployed
from support.rest import Rest


@dataclass(frozen=True)
class Replica:
    """A replica by the name of its pod."""

    name: str
    url: str
    token: str

    @classmethod
    def all(cls, deployed: Deployed) -> list[Replica]:
        """Every replica that is not on its way out."""
        return [cls(name, deployed.replica_url(name), deployed.token) for name in deployed.replicas()]

    @property
    def ws_url(self) -> str:
        return "ws" + self.url.removeprefix("http")

    @property
    def rest(self) -> Rest:
        return Rest(self.url, self.token)
