"""A Spark operator that does what the real one does for one application after the other, with the shipped Spark.

It polls SparkApplications, runs spark-submit in a pod of its own with the options that the operator would give it, and
writes states. Of the resource it reads what the tests' resources have. Source for what it does: the API reference of
`sparkoperator.k8s.io/v1beta2` and the operator's controller.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from support.cluster import KubectlError, Namespace, Object, kubectl
from support.wait import eventually

log = logging.getLogger(__name__)

RESOURCE = "sparkapplications.sparkoperator.k8s.io"
IMAGE = "localhost/kernel-spark-py:dev"
POLL_SECONDS = 0.3
READY_SECONDS = 60.0
CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": RESOURCE, "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"}},
    "spec": {
        "group": "sparkoperator.k8s.io",
        "names": {"kind": "SparkApplication", "plural": "sparkapplications", "singular": "sparkapplication"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1beta2",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
NAME = "spark-operator"
RULES = [
    {"apiGroups": [""], "resources": ["pods", "services", "configmaps"], "verbs": ["*"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["*"]},
]
POD_SPEC: Object = {
    "serviceAccountName": NAME,
    "terminationGracePeriodSeconds": 0,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": NAME,
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "infinity"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


@contextmanager
def resource_definition() -> Iterator[None]:
    """The cluster knows SparkApplications meanwhile."""
    kubectl("apply", "--filename", "-", stdin=json.dumps(CRD))
    try:
        kubectl("wait", "--for=condition=established", f"crd/{RESOURCE}", f"--timeout={READY_SECONDS:g}s")
        yield
    finally:
        kubectl("delete", "crd", RESOURCE, "--wait=false")


class SparkOperator:
    """One namespace's; enter it to start it."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spark operator")

    def __enter__(self) -> Self:
        metadata = {"name": NAME}
        account = {"kind": "ServiceAccount", "name": NAME, "namespace": self._namespace.name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
        rbac = "rbac.authorization.k8s.io/v1"
        self._namespace.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": RULES},
            {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [account]},
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": POD_SPEC},
        )
        eventually(lambda: self._namespace.get("pod", NAME)["status"]["phase"] == "Running", READY_SECONDS)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def __repr__(self) -> str:
        return f"<SparkOperator of {self._namespace.name}>"

    def _run(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            try:
                for application in self._namespace.list(RESOURCE):
                    self._reconcile(application)
            except (KubectlError, subprocess.TimeoutExpired) as error:  # one that is deleted meanwhile, a busy cluster
                log.info("the Spark operator goes on after: %s", error)

    def _reconcile(self, application: Object) -> None:
        state = application.get("status", {}).get("applicationState", {}).get("state", "")
        if state == "":
            try:
                self._submit(application)
            except KubectlError as error:
                self._say(application, "SUBMISSION_FAILED", f"failed to submit spark application: {error}")
            else:
                self._say(application, "SUBMITTED")
        elif state == "SUBMITTED" and self._driver_phase(application) == "Running":
            self._say(application, "RUNNING")
        elif state == "RUNNING" and self._driver_phase(application) == "":
            self._say(application, "FAILED", "driver pod not found")

    def _driver_phase(self, application: Object) -> str:
        name = application["spec"]["driver"]["podName"]
        try:
            return str(self._namespace.get("pod", name)["status"]["phase"])
        except KubectlError:
            return ""

    def _submit(self, application: Object) -> None:
        """Runs spark-submit to its end."""
        folder = f"/tmp/{application['metadata']['uid']}"
        for part in ("driver", "executor"):
            text = json.dumps(application["spec"][part].get("template", {}))
            self._execute("sh", "-c", f"mkdir -p {folder} && cat >{folder}/{part}.json", stdin=text)
        self._execute("/opt/spark/bin/spark-submit", *submit_words(application, folder))

    def _execute(self, *command: str, stdin: str = "") -> str:
        return self._namespace.kubectl("exec", "--stdin", NAME, "--", *command, stdin=stdin)

    def _say(self, application: Object, state: str, message: str = "") -> None:
        status = {"status": {"applicationState": {"state": state, "errorMessage": message}}}
        name, patch = application["metadata"]["name"], json.dumps(status)
        self._namespace.kubectl("patch", RESOURCE, name, "--subresource=status", "--type=merge", f"--patch={patch}")


def submit_words(application: Object, folder: str) -> list[str]:
    """spark-submit's words: the operator's settings in its order, of which the last about one thing counts."""
    name, spec = application["metadata"]["name"], application["spec"]
    settings = {
        "spark.kubernetes.namespace": application["metadata"]["namespace"],
        "spark.kubernetes.container.image": spec.get("image"),
        "spark.kubernetes.container.image.pullPolicy": spec.get("imagePullPolicy"),
        "spark.kubernetes.pyspark.pythonVersion": spec.get("pythonVersion"),
        "spark.kubernetes.submission.waitAppCompletion": "false",
        **spec.get("sparkConf", {}),
        "spark.kubernetes.driver.podTemplateFile": f"{folder}/driver.json",
        "spark.kubernetes.driver.podTemplateContainerName": "spark-kubernetes-driver",
        "spark.kubernetes.driver.pod.name": spec["driver"]["podName"],
        **_part_settings("driver", application, spec["driver"]),
        "spark.executor.instances": spec["executor"].get(
            "instances", spec["sparkConf"].get("spark.executor.instances")
        ),
        **_part_settings("executor", application, spec["executor"]),
    }
    if "template" in spec["executor"]:
        settings["spark.kubernetes.executor.podTemplateFile"] = f"{folder}/executor.json"
    confs = [word for key, value in settings.items() if value is not None for word in ("--conf", f"{key}={value}")]
    place = ("--master", "k8s://https://kubernetes.default.svc:443", "--deploy-mode", spec["mode"], "--name", name)
    return [*place, *confs, spec["mainApplicationFile"], *spec.get("arguments", [])]


def _part_settings(part: str, application: Object, of: Object) -> dict[str, Any]:
    kubernetes = f"spark.kubernetes.{part}"
    said = {
        f"{kubernetes}.container.image": of.get("image"),
        f"spark.{part}.cores": of.get("cores"),
        f"{kubernetes}.request.cores": of.get("coreRequest"),
        f"{kubernetes}.limit.cores": of.get("coreLimit"),
        f"spark.{part}.memory": of.get("memory"),
        f"spark.{part}.memoryOverhead": of.get("memoryOverhead"),
        f"spark.kubernetes.authenticate.{part}.serviceAccountName": of.get("serviceAccount"),
    }
    labels = {
        "sparkoperator.k8s.io/app-name": application["metadata"]["name"],
        **application["metadata"].get("labels", {}),
        **of.get("labels", {}),
    }
    annotations = {f"{kubernetes}.annotation.{key}": value for key, value in of.get("annotations", {}).items()}
    given = {key: value for key, value in said.items() if value is not None}
    return given | {f"{kubernetes}.label.{key}": value for key, value in labels.items()} | annotations
