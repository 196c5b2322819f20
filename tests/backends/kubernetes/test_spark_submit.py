"""Kernel specs by spark-submit: words are the spec's, values are put into words, clients get a few of them."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import pytest
from pod_parts import KERNEL, make_launch, make_parameters

from enterprise_gateway.backends.base import Launch
from enterprise_gateway.backends.kubernetes.spark_submit import (
    Submission,
    failure_in_words,
    is_submission,
    make_submission,
)
from enterprise_gateway.errors import Forbidden, StartFailed

SPARK_OPTS = (
    "--master k8s://https://${KUBERNETES_SERVICE_HOST}:${KUBERNETES_SERVICE_PORT} --deploy-mode cluster "
    "--name ${KERNEL_USERNAME}-${KERNEL_ID} --conf spark.kubernetes.namespace=${KERNEL_NAMESPACE} "
    "--conf spark.kubernetes.driver.container.image=${KERNEL_IMAGE} --conf 'spark.app.note=two words' "
    "${KERNEL_EXTRA_SPARK_OPTS}"
)
TODAY = (
    *("--RemoteProcessProxy.kernel-id", "{kernel_id}", "--RemoteProcessProxy.port-range", "{port_range}"),
    *("--RemoteProcessProxy.response-address", "{response_address}"),
    *("--RemoteProcessProxy.public-key", "{public_key}"),
    *("--RemoteProcessProxy.spark-context-initialization-mode", "lazy"),
)
OF_2018 = ("{connection_file}", "--RemoteProcessProxy.response-address", "{response_address}")
RUN = "/usr/local/share/jupyter/kernels/spark_python_kubernetes/bin/run.sh"
DIRECT = (
    *("spark-submit", "--deploy-mode=cluster", "--master", "k8s://here", "${KERNEL_EXTRA_SPARK_OPTS}"),
    *("local:///kernel.py", "-f", "{connection_file}", "--owner=${KERNEL_USERNAME}"),
)
DECIDED = {
    "KERNEL_IMAGE": "kernel:1",
    "KERNEL_EXECUTOR_IMAGE": "executor:1",
    "KERNEL_NAMESPACE": "kernels",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
}
NAMESPACE = {
    "kernel_id": KERNEL,
    "port_range": "0..0",
    "response_address": "127.0.0.1:8877",
    "connection_file": "/run/connection.json",
}


def launch(argv: tuple[str, ...] = (RUN, *TODAY), **changes: Any) -> Launch:
    spec_env = {"SPARK_HOME": "/opt/spark", "SPARK_OPTS": SPARK_OPTS} | changes.pop("spec_env", {})
    wishes = changes.pop("wishes", {})
    env = spec_env | {"KERNEL_ID": KERNEL, "KERNEL_USERNAME": "alice"} | wishes
    return make_launch(argv=argv, spec_env=spec_env, env=env, wishes=wishes, **changes)


def submission(of: Launch, **parameters: Any) -> Submission:
    return make_submission(
        of,
        make_parameters(**{"image": "kernel:1", "namespace": "kernels", **parameters}),
        pod_name="alice-1",
        namespace=NAMESPACE,
        decided=DECIDED,
        env={"PATH": "/bin"},
    )


def command(of: Launch, **parameters: Any) -> list[str]:
    return submission(of, **parameters).argv("/tmp/files", "the-key")


def confs(words: list[str]) -> dict[str, str]:
    """What Spark makes of them: the last word about a setting counts."""
    pairs = itertools.pairwise(words)
    return dict(value.split("=", 1) for word, value in pairs if word in ("--conf", "-c"))


def with_options(options: str) -> Launch:
    return launch(DIRECT, wishes={"KERNEL_EXTRA_SPARK_OPTS": options})


@pytest.mark.parametrize("name", ["spark-submit", "/opt/spark/bin/spark-submit"])
def test_argv_that_begins_with_spark_submit_is_a_submission(name: str) -> None:
    assert is_submission((name, "--version"), {})


def test_a_run_script_is_one_where_its_options_speak_of_kubernetes() -> None:
    assert is_submission((RUN,), {"SPARK_OPTS": SPARK_OPTS})
    assert not is_submission((RUN,), {"SPARK_OPTS": "--master yarn"})
    assert not is_submission((RUN,), {})
    assert not is_submission(("python", "-m", "ipykernel_launcher"), {"SPARK_OPTS": SPARK_OPTS})


class TestRunScript:
    """What EG's run.sh did, without a shell."""

    def test_runs_spark_submit_of_spark_home_with_the_specs_options_and_the_launcher(self) -> None:
        words = command(launch(spec_env={"LAUNCH_OPTS": "--one 'and two'"}))
        assert words[0] == "/opt/spark/bin/spark-submit"
        assert words[words.index("--master") + 1] == "k8s://https://10.0.0.1:443"
        assert words[words.index("--name") + 1] == f"alice-{KERNEL}"
        application = words[words.index("local:///usr/local/bin/kernel-launchers/python/scripts/launch_ipykernel.py") :]
        assert application[1:] == [
            *("--one", "and two"),
            *("--RemoteProcessProxy.kernel-id", KERNEL, "--RemoteProcessProxy.port-range", "0..0"),
            *("--RemoteProcessProxy.response-address", "127.0.0.1:8877"),
            *("--RemoteProcessProxy.public-key", "the-key"),
            *("--RemoteProcessProxy.spark-context-initialization-mode", "lazy"),
        ]
        assert confs(words)["spark.app.note"] == "two words"

    def test_a_launcher_of_2018_is_told_what_todays_needs(self) -> None:
        words = command(launch((RUN, *OF_2018)))
        assert "/run/connection.json" not in words
        assert words[-6:] == [
            *("--RemoteProcessProxy.response-address", "127.0.0.1:8877"),
            *("--RemoteProcessProxy.kernel-id", KERNEL, "--RemoteProcessProxy.public-key", "the-key"),
        ]

    def test_an_r_kernels_launcher_is_known_and_another_languages_is_to_be_written_out(self) -> None:
        assert "local:///usr/local/bin/kernel-launchers/R/scripts/launch_IRkernel.R" in command(launch(language="R"))
        with pytest.raises(StartFailed, match=r"scala.*as it runs spark-submit"):
            command(launch(language="scala"))

    def test_the_submitters_environment_is_the_specs_without_the_kernels(self) -> None:
        of = launch(spec_env={"HTTP2_DISABLE": "true", "KERNEL_X": "1"}, wishes={"KERNEL_Y": "2", "LD_PRELOAD": "3"})
        assert submission(of).env == {
            "PATH": "/bin",
            "SPARK_HOME": "/opt/spark",
            "SPARK_OPTS": SPARK_OPTS,
            "HTTP2_DISABLE": "true",
        }


class TestWords:
    """A value is part of one word."""

    HOSTILE = "x --conf spark.kubernetes.namespace=kube-system ' \" ; id #"

    @pytest.mark.parametrize("argv", [(RUN, *TODAY), DIRECT])
    def test_a_clients_value_never_becomes_a_word_of_its_own(self, argv: tuple[str, ...]) -> None:
        plain, hostile = (command(launch(argv, wishes={"KERNEL_USERNAME": name})) for name in ("alice", self.HOSTILE))
        assert len(plain) == len(hostile)
        assert [word.replace(self.HOSTILE, "alice") for word in hostile] == plain

    def test_what_the_gateway_decided_counts_before_what_the_client_says(self) -> None:
        words = command(launch(wishes={"KERNEL_IMAGE": "evil:1", "KERNEL_NAMESPACE": "kube-system"}))
        assert confs(words)["spark.kubernetes.driver.container.image"] == "kernel:1"
        assert not [word for word in words if "evil" in word or "kube-system" in word]

    def test_a_variable_that_nobody_has_set_leaves_nothing(self) -> None:
        words = command(launch(DIRECT))
        assert "" not in words
        assert not [word for word in words if "KERNEL_EXTRA_SPARK_OPTS" in word]

    def test_extra_options_are_split_as_a_shell_would(self) -> None:
        assert confs(command(with_options("--conf 'spark.x=a b' --executor-memory 1g")))["spark.x"] == "a b"

    def test_extra_options_that_cannot_be_split_are_named(self) -> None:
        with pytest.raises(StartFailed, match="KERNEL_EXTRA_SPARK_OPTS cannot be split"):
            command(with_options("--conf 'spark.x=a"))

    def test_the_application_of_ones_own_gets_the_connection_file(self) -> None:
        assert command(launch(DIRECT))[-4:] == ["local:///kernel.py", "-f", "/run/connection.json", "--owner=alice"]


class TestSettings:
    """What holds whatever the kernel spec says."""

    def test_the_gateways_settings_are_the_last_ones_before_the_application(self) -> None:
        of = launch((*DIRECT[:4], "--conf", "spark.kubernetes.driver.pod.name=mine", *DIRECT[4:]))
        settings = confs(command(of, service_account="spark-driver"))
        assert settings["spark.kubernetes.driver.pod.name"] == "alice-1"
        assert settings["spark.kubernetes.driver.podTemplateFile"] == "/tmp/files/driver.json"
        assert settings["spark.kubernetes.driver.podTemplateContainerName"] == "kernel"
        assert settings["spark.kubernetes.executor.podTemplateFile"] == "/tmp/files/executor.json"
        assert settings["spark.kubernetes.executor.container.image"] == "executor:1"
        assert settings["spark.kubernetes.authenticate.driver.serviceAccountName"] == "spark-driver"
        assert settings["spark.kubernetes.submission.waitAppCompletion"] == "false"
        labels = {
            name: settings[f"spark.kubernetes.executor.label.{name}"] for name in ("app", "component", "kernel_id")
        }
        assert labels == {"app": "enterprise-gateway", "component": "worker", "kernel_id": KERNEL}

    def test_the_driver_gets_the_cores_and_the_memory_of_the_kernel(self) -> None:
        of = launch(DIRECT)
        settings = confs(command(of, requests={"cpu": "500m", "memory": "1Gi"}, limits={"cpu": "2", "memory": "4Gi"}))
        assert settings["spark.kubernetes.driver.request.cores"] == "500m"
        assert settings["spark.kubernetes.driver.limit.cores"] == "2"
        sizes = [settings["spark.driver.memory"], settings["spark.driver.memoryOverhead"]]
        assert sum(int(size.removesuffix("m")) for size in sizes) == 4096

    @pytest.mark.parametrize(
        "argv",
        [
            ("spark-submit", "--master", "k8s://here", "local:///kernel.py"),
            ("spark-submit", "--deploy-mode", "client", "--master", "k8s://here", "local:///kernel.py"),
            ("spark-submit", "--deploy-mode", "cluster", "--master", "yarn", "local:///kernel.py"),
        ],
    )
    def test_another_mode_is_refused_with_what_to_do_instead(self, argv: tuple[str, ...]) -> None:
        with pytest.raises(StartFailed, match=r"--deploy-mode cluster and --master k8s://.*the kernel's own command"):
            command(launch(argv))

    def test_a_submission_of_nothing_is_refused(self) -> None:
        with pytest.raises(StartFailed, match="names no application"):
            command(launch(("spark-submit", "--deploy-mode", "cluster", "--master", "k8s://here")))


class TestClients:
    """spark-submit has the gateway's rights and files, so a client's options concern its own pods alone."""

    @pytest.mark.parametrize(
        "options",
        [
            "--conf spark.executor.memory=1g --conf spark.sql.shuffle.partitions=8",
            "--executor-memory 1g --executor-cores 2 --num-executors 3",
            "--executor-memory=1g",
            "-c spark.x=1",
            "--conf spark.kubernetes.executor.request.cores=100m",
            "--jars local:///opt/a.jar,https://example.org/b.jar --py-files s3a://bucket/c.zip",
            "--conf spark.hadoop.fs.s3a.endpoint=https://example.org",
        ],
    )
    def test_may_size_and_tune_what_is_theirs(self, options: str) -> None:
        words = command(with_options(options))
        assert set(shlex.split(options)) <= set(words)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ("--conf spark.kubernetes.driver.podTemplateFile=/x", "podTemplateFile: this is the kernel spec's"),
            ("--conf=spark.kubernetes.namespace=kube-system", "spark.kubernetes.namespace"),
            ("-c spark.kubernetes.driver.secrets.enterprise-gateway=/x", "spark.kubernetes.driver.secrets"),
            ("--conf spark.kubernetes.authenticate.driver.serviceAccountName=admin", "serviceAccountName"),
            ("--conf spark.kubernetes.driver.volumes.hostPath.x.mount.path=/", "hostPath"),
            ("--conf spark.kerberos.keytab=/etc/krb5.keytab", "spark.kerberos.keytab"),
            ("--conf spark.submit.deployMode=client", "spark.submit.deployMode"),
            ("--conf spark.driver.memory=64g", "ask for KERNEL_MEMORY"),
            ("--conf spark.driver.memoryOverhead=64g", "ask for KERNEL_MEMORY"),
            ("--conf spark.jars=/etc/enterprise-gateway/master.key", "must begin with where it is"),
            ("--files file:///var/run/secrets/kubernetes.io/serviceaccount/token", "must begin with where it is"),
            ("--files FILE:/etc/passwd", "must begin with where it is"),
            ("--jars https://example.org/a.jar,b.jar", "'b.jar' must begin"),
            ("--py-files ../x.zip", "must begin with where it is"),
            ("--conf spark.jars.ivySettings=/etc/passwd", "spark.jars.ivySettings"),
            ("--packages a:b:1", "--packages is not for clients"),
            ("--properties-file /etc/passwd", "--properties-file is not for clients"),
            ("--proxy-user root", "--proxy-user is not for clients"),
            ("--master local", "--master is not for clients"),
            ("--deploy-mode client", "--deploy-mode is not for clients"),
            ("--class Evil", "--class is not for clients"),
            ("--kill x", "--kill is not for clients"),
            ("evil.jar", "'evil.jar' is no option"),
            ("--executor-cores 1 evil.jar", "'evil.jar' is no option"),
            ("--supervise", "--supervise is not for clients"),
            ("--conf java.x=1", "settings begin with 'spark.'"),
            ("--executor-cores 1 --conf", "--conf needs a value"),
            ("--num-executors", "--num-executors needs a value"),
        ],
    )
    def test_get_nothing_of_the_gateways(self, options: str, named: str) -> None:
        with pytest.raises(Forbidden) as refused:
            command(with_options(options))
        assert named in refused.value.message

    def test_what_the_kernel_spec_says_is_the_operators(self) -> None:
        of = launch(DIRECT, spec_env={"KERNEL_EXTRA_SPARK_OPTS": "--packages a:b:1"})
        assert "--packages" in command(of)


class TestFailure:
    """What is told of a spark-submit that failed."""

    def test_is_what_the_api_server_said(self) -> None:
        output = (
            'Exception in thread "main" io.fabric8.kubernetes.client.KubernetesClientException: Failure executing: '
            'POST at: https://10.0.0.1/api/v1/namespaces/n/pods. Message: pods "a" is forbidden: exceeded quota: q. '
            "Received status: Status(apiVersion=v1, code=403)\n\tat x.y(Z.java:1)\n"
        )
        assert failure_in_words(output) == 'pods "a" is forbidden: exceeded quota: q'

    def test_is_else_the_innermost_cause(self) -> None:
        output = "26/01/01 INFO Start\nException in thread main x.Y: outer\n\tat z\nCaused by: a.B: inner\n\tat c\n"
        assert failure_in_words(output) == "Caused by: a.B: inner"

    @pytest.mark.parametrize(("output", "words"), [("", "it said nothing"), ("one\ntwo\n", "two")])
    def test_is_else_its_last_line(self, output: str, words: str) -> None:
        assert failure_in_words(output) == words
