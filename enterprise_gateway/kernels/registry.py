"""Which kernels there are, who sees them, and how their agents are reached.

Reads the backends' live views; remembers nothing itself. One event loop; nothing here waits but `changed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from enterprise_gateway.backends.base import Backend
from enterprise_gateway.core.keys import KernelSecrets, MasterKeys
from enterprise_gateway.core.principals import Principal
from enterprise_gateway.core.records import KernelRecord, ObservedKernel, Phase
from enterprise_gateway.errors import KernelNotFound, KernelUnresponsive, NotReady
from enterprise_gateway.kernels.reach import Address


class Registry:
    """The kernels of all backends."""

    def __init__(self, backends: Mapping[str, Backend], keys: Mapping[str, MasterKeys]) -> None:
        self.backends = backends
        self._keys = keys
        """Those of each backend."""

    @property
    def ready(self) -> bool:
        """Whether the whole state is known."""
        return all(backend.synced for backend in self.backends.values())

    def observed(self) -> Iterable[ObservedKernel]:
        """Every kernel of every backend.

        Raises:
            NotReady: some are not known yet.
        """
        if not self.ready:
            raise NotReady
        for backend in self.backends.values():
            yield from backend.kernels.values()

    def visible(self, principal: Principal) -> list[ObservedKernel]:
        """The living kernels that exist for `principal`. Raises as `observed`."""
        return [
            observed
            for observed in self.observed()
            if observed.phase is not Phase.ENDED and principal.may_see(observed.record.owner)
        ]

    def find(self, principal: Principal, kernel_id: str) -> ObservedKernel:
        """One kernel that exists for `principal`, ended or not.

        Raises:
            KernelNotFound: there is none; somebody else's is none.
            NotReady: it is not known yet.
        """
        observed = self.lookup(kernel_id)
        if observed is None or not principal.may_see(observed.record.owner):
            raise KernelNotFound(kernel_id)
        return observed

    def alive(self, principal: Principal, kernel_id: str) -> ObservedKernel:
        """Like `find`, but an ended kernel does not exist either; the error says why it ended."""
        observed = self.find(principal, kernel_id)
        if observed.phase is Phase.ENDED:
            raise KernelNotFound(kernel_id, observed.reason)
        return observed

    def lookup(self, kernel_id: str) -> ObservedKernel | None:
        """A kernel by its id, whoever owns it; None when there is none.

        Raises:
            NotReady: it is not known yet.
        """
        if not self.ready:
            raise NotReady
        for backend in self.backends.values():
            observed = backend.kernels.get(kernel_id)
            if observed is not None:
                return observed
        return None

    def secrets(self, record: KernelRecord) -> KernelSecrets:
        """The secrets of a kernel.

        Raises:
            KernelUnresponsive: the master key they come from is no longer among the keys.
        """
        return self._keys_of(record).secrets(record.key_id, record.kernel_id)

    def spark_ui_path(self, record: KernelRecord) -> str:
        """Where, below the base URL, a browser without credentials finds the kernel's Spark UI. Raises as `secrets`."""
        capability = self._keys_of(record).spark_ui_capability(record)
        return f"/api/kernels/{record.kernel_id}/spark-ui/~{capability.reveal()}/"

    def newest_key_id(self, backend: str) -> str:
        """The master key for new kernels of a backend."""
        return self._keys[backend].newest_id

    def address(self, observed: ObservedKernel) -> Address | None:
        """How to reach the kernel's agent; None while that is not known. Raises as `secrets`."""
        if observed.endpoint is None:
            return None
        secrets = self.secrets(observed.record)
        return Address(observed.endpoint, secrets.token, secrets.tls_seed)

    def reachable(self, observed: ObservedKernel) -> Address:
        """Like `address`, for what cannot wait.

        Raises:
            KernelUnresponsive: the agent is not there yet.
        """
        address = self.address(observed)
        if address is None:
            raise KernelUnresponsive("The kernel is still starting")
        return address

    def backend_of(self, observed: ObservedKernel) -> Backend:
        """Where the kernel runs."""
        return self.backends[observed.record.backend]

    async def changed(self, observed: ObservedKernel) -> None:
        """Wait for news about a kernel from its backend."""
        await self.backend_of(observed).changed(observed.record.kernel_id)

    def _keys_of(self, record: KernelRecord) -> MasterKeys:
        keys = self._keys[record.backend]
        if not keys.knows(record.key_id):
            raise KernelUnresponsive(f"The master key {record.key_id} of this kernel is no longer among the keys")
        return keys

    def __repr__(self) -> str:
        return f"<Registry {', '.join(self.backends)}>"
