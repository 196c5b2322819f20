"""Who makes a kernel's pod in the gateway's place, of the gateway's template: spark-submit, or the Spark operator.

Knows what is done so that the pod comes to be, and what is left of it otherwise; nothing of what becomes of the pod.
A maker is of one start. One event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

import msgspec

from enterprise_gateway.backends.kubernetes.answers import ApiError, ApiUnavailable
from enterprise_gateway.backends.kubernetes.api import KubernetesApi
from enterprise_gateway.backends.kubernetes.objects import Application, Pod
from enterprise_gateway.backends.kubernetes.paths import OPERATOR_GROUP, OPERATOR_VERSION, applications_path
from enterprise_gateway.backends.kubernetes.pod import RECORD_ANNOTATION, PodPlan, make_pod
from enterprise_gateway.backends.kubernetes.spark_application import SparkApplication
from enterprise_gateway.backends.kubernetes.spark_submit import Submission, failure_in_words
from enterprise_gateway.backends.kubernetes.submitter import Submitter
from enterprise_gateway.backends.kubernetes.wording import shortened, with_detail
from enterprise_gateway.errors import StartFailed

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at what the operator says of an application whose pod is not there yet."""
HOPELESS = frozenset({"SUBMISSION_FAILED", "FAILING", "FAILED", "INVALIDATING", "SUSPENDING", "SUSPENDED", "COMPLETED"})
"""States of an application that gets no pod."""
HTTP_NOT_FOUND, HTTP_CONFLICT = 404, 409


class Maker(Protocol):
    """Makes the pod of one start."""

    async def make(self) -> bool:
        """Have the pod made; False when somebody else has this start. Cancelled when the start is over.

        Raises:
            StartFailed: there will be no pod, or not in time; it may be there all the same.
            BackendUnavailable: the API server cannot be asked.
        """

    async def settle(self, making: asyncio.Future[bool], pod: Pod) -> None:
        """The pod is there and has its Secret; `making` is `make`. Raises as that."""

    async def undo(self) -> bool:
        """Take back what is left of a start that failed, but for the pod; False if that cannot be done now."""


class BySubmit:
    """spark-submit makes it, beside the gateway."""

    def __init__(self, submitter: Submitter, submission: Submission, plan: PodPlan) -> None:
        self._submitter = submitter
        self._submission = submission
        self._plan = plan

    async def make(self) -> bool:
        """Run it to its end."""
        await self._submitter.submit(
            self._submission, make_pod(self._plan), _public_key(self._plan), _remaining(self._plan)
        )
        return True

    async def settle(self, making: asyncio.Future[bool], pod: Pod) -> None:  # noqa: ARG002 - the other maker needs it
        """What belongs to the pod is made after it."""
        await making

    async def undo(self) -> bool:
        """All that it makes belongs to the pod."""
        return True

    def __repr__(self) -> str:
        return f"<BySubmit {self._plan.pod_name}>"


class ByOperator:
    """The Spark operator makes it, of a SparkApplication."""

    def __init__(self, api: KubernetesApi, application: SparkApplication, plan: PodPlan) -> None:
        self._api = api
        self._plan = plan
        self._body = application.resource(make_pod(plan), _public_key(plan))
        self._collection = applications_path(plan.namespace)
        self._path = f"{self._collection}/{self._body['metadata']['name']}"
        self._asked = False
        self._uid = ""

    async def make(self) -> bool:
        """Create the resource, and look at it until it has failed: that there is a pod, the watch of pods tells."""
        self._asked = True
        try:
            # Strict: an operator too old to know templates of pods would make one without an agent.
            made = await self._api.create(f"{self._collection}?fieldValidation=Strict", self._body, Application)
        except ApiError as error:
            self._asked = False
            if error.status == HTTP_CONFLICT:
                return False
            raise StartFailed(_refusal(error)) from None
        self._uid = made.metadata.uid
        raise await self._failure()

    async def settle(self, making: asyncio.Future[bool], pod: Pod) -> None:  # noqa: ARG002 - the other maker needs it
        """From now on the resource goes with the pod."""
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
        change = {"metadata": {"uid": self._uid, "ownerReferences": [owner]}}
        try:
            await self._api.patch(self._path, change, Application)
        except ApiError as error:
            raise StartFailed(
                f"Kubernetes refused to have the SparkApplication go with its pod: {error.message}"
            ) from None

    async def undo(self) -> bool:
        """Delete the resource, also one of which it was never said that it exists."""
        try:
            if self._asked and (uid := self._uid or await self._own_uid()):
                await self._api.delete(self._path, uid=uid)
        except ApiUnavailable:
            return False
        except ApiError as error:  # the operator deletes it, a day after it ended
            log.warning("The SparkApplication of a failed start stays: %s", error.message)
        return True

    async def _failure(self) -> StartFailed:
        """Wait until there will be no pod, and why."""
        seconds, state, why = _remaining(self._plan), "", ""
        try:
            async with asyncio.timeout(seconds):
                while state not in HOPELESS:
                    await asyncio.sleep(LOOK_SECONDS)
                    state, why = await self._look(state)
        except TimeoutError:
            told = f"it says {state}" if state else "it has not looked at the SparkApplication; does it run?"
            return StartFailed(f"The Spark operator did not make the driver's pod within {seconds:.0f} s: {told}")
        return StartFailed(with_detail(f"The Spark operator made no pod for the driver ({state})", why))

    async def _look(self, before: str) -> tuple[str, str]:
        """The state that the operator has given the resource, and why; the one before while nobody can be asked."""
        try:
            seen = (await self._api.get(self._path, Application)).status.application_state
        except ApiUnavailable:
            return before, ""
        except ApiError as error:
            gone = error.status == HTTP_NOT_FOUND
            why = "was deleted while the kernel started" if gone else f"cannot be read: {error.message}"
            raise StartFailed(f"The SparkApplication {why}") from None
        return seen.state, shortened(failure_in_words(seen.error_message)) if seen.error_message else ""

    async def _own_uid(self) -> str:
        """Of the resource, if it is this start's; else nothing."""
        try:
            found = await self._api.get(self._path, Application)
        except ApiError as error:
            if error.status == HTTP_NOT_FOUND:
                return ""
            raise
        ours = msgspec.json.encode(self._plan.record).decode()
        return found.metadata.uid if found.metadata.annotations.get(RECORD_ANNOTATION) == ours else ""

    def __repr__(self) -> str:
        return f"<ByOperator {self._path}>"


def _public_key(plan: PodPlan) -> str:
    return plan.report_key.public if plan.report_key else ""


def _remaining(plan: PodPlan) -> float:
    return max(plan.record.deadline - time.time(), 0.0)


def _refusal(error: ApiError) -> str:
    if error.status == HTTP_NOT_FOUND:
        return (
            "The Spark operator is missing: this cluster knows no SparkApplication "
            f"({OPERATOR_GROUP}/{OPERATOR_VERSION}). Its administrator has to install it"
        )
    return f"Kubernetes refused the kernel's SparkApplication: {error.message}"
