"""Kernel specs by the Spark operator: the resource of a template or of a plain application, and what holds anyway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from plan_parts import HOSTILE, plan
from pod_parts import KERNEL
from support.launchers import LAUNCHERS

from enterprise_gateway.backends.kubernetes.objects import Metadata
from enterprise_gateway.backends.kubernetes.pod import make_pod, make_secret
from enterprise_gateway.backends.kubernetes.policy import parse_policy
from enterprise_gateway.backends.kubernetes.spark_application import plain_application
from enterprise_gateway.backends.report_key import make_report_key
from enterprise_gateway.errors import Forbidden, StartFailed

SCRIPT = "{resource_dir}/scripts/launch_custom_resource.py"
EG = (
    *("python", SCRIPT, "--RemoteProcessProxy.kernel-id", "{kernel_id}"),
    *("--RemoteProcessProxy.port-range", "{port_range}"),
    *("--RemoteProcessProxy.response-address", "{response_address}"),
    *("--RemoteProcessProxy.public-key", "{public_key}"),
)
PROVISIONERS = (
    *("python", SCRIPT, "--kernel-id", "{kernel_id}", "--port-range", "{port_range}"),
    *("--response-address", "{response_address}", "--public-key", "{public_key}"),
    *("--transport-encryption", "{transport_encryption}", "--kernel-class-name", "lab.Kernel"),
)
OWN = ("local:///opt/kernel.py", "-f", "{connection_file}", "--of", "{kernel_id}")
EG_TEMPLATE = """\
apiVersion: "sparkoperator.k8s.io/v1beta2"
kind: SparkApplication
metadata:
  name: {{ kernel_resource_name }}
spec:
  type: Python
  sparkVersion: 2.4.5
  image: {{ kernel_image }}
  mainApplicationFile: "local:///launchers/launch_ipykernel.py"
  arguments:
    - "--kernel-id"
    - "{{ kernel_id }}"
    - "--spark-context-initialization-mode"
    - "{{ spark_context_initialization_mode }}"
    - "--response-address"
    - "{{ eg_response_address }}"
    - "--port-range"
    - "{{ eg_port_range }}"
    - "--public-key"
    - "{{ eg_public_key }}"
    - "--owner={{ kernel_username }}"
  driver:
    serviceAccount: "{{ kernel_service_account_name }}"
    labels:
      app: another
      component: driver
      team: lab
    cores: 1
    coreLimit: 1000m
    memory: 1g
  executor:
    image: {{ kernel_executor_image }}
    instances: 2
    cores: 1
    memory: 1g
{% if kernel_sparkapp_config_map %}
  sparkConfigMap: {{ kernel_sparkapp_config_map }}
{% endif %}
"""
PROVISIONERS_TEMPLATE = (LAUNCHERS / "operators" / "scripts" / "sparkoperator.k8s.io-v1beta2.yaml.j2").read_text()
"""As it is published."""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A kernel spec's folder, laid out as EG ships it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "launch_custom_resource.py").write_text("raise SystemExit('nobody runs this')")
    write(tmp_path, EG_TEMPLATE)
    return tmp_path


def write(folder: Path, template: str) -> None:
    (folder / "scripts" / "sparkoperator.k8s.io-v1beta2.yaml.j2").write_text(template)


def resource(argv: tuple[str, ...] = OWN, public_key: str = "the-key", **about: Any) -> dict[str, Any]:
    """From a kernel spec and a client's variables to what is created."""
    made = plan(argv, **about)
    assert made.application is not None
    return made.application.resource(make_pod(made), public_key)


def options(text: str) -> dict[str, Any]:
    """A client's Spark options."""
    return {"client": {"KERNEL_EXTRA_SPARK_OPTS": text}}


class TestTemplates:
    """EG's layout: a script that is not run, and the template beside it."""

    def test_egs_template_is_filled_in_with_what_the_script_told_it(self, spec: Path) -> None:
        made = resource(EG, folder=spec)
        assert made["metadata"]["name"] == f"kernel-{KERNEL}"
        assert made["spec"]["mainApplicationFile"] == "local:///launchers/launch_ipykernel.py"
        assert made["spec"]["arguments"] == [
            *("--kernel-id", KERNEL, "--spark-context-initialization-mode", "none"),
            *("--response-address", "127.0.0.1:8877", "--port-range", "0..0", "--public-key", "the-key"),
            "--owner=alice",
        ]
        assert "sparkConfigMap" not in made["spec"]

    def test_the_template_of_gateway_provisioners_is_filled_in_by_its_names(self, spec: Path) -> None:
        write(spec, PROVISIONERS_TEMPLATE)
        made = resource(PROVISIONERS, folder=spec)["spec"]
        assert made["arguments"] == [
            *("--kernel-id", KERNEL, "--spark-context-initialization-mode", "none"),
            *("--response-address", "127.0.0.1:8877", "--port-range", "0..0", "--public-key", "the-key"),
            *("--kernel-class-name", "lab.Kernel"),
        ]
        assert made["image"] == made["driver"]["image"] == "localhost/kernel:1"
        assert {part: made[part]["labels"]["app"] for part in ("driver", "executor")} == {
            "driver": "enterprise-gateway",
            "executor": "enterprise-gateway",
        }

    def test_the_mode_that_the_script_is_called_with_counts(self, spec: Path) -> None:
        made = resource((*EG, "--RemoteProcessProxy.spark-context-initialization-mode", "lazy"), folder=spec)
        assert "lazy" in made["spec"]["arguments"]

    @pytest.mark.parametrize("argv", [EG, PROVISIONERS])
    def test_a_launcher_in_the_driver_reports_to_the_agent(self, spec: Path, argv: tuple[str, ...]) -> None:
        made = plan(argv, folder=spec)
        assert made.reports
        key = make_report_key()
        secret = make_secret(replace(made, report_key=key), Metadata(name=made.pod_name, uid="u"))
        assert '"launcher":{' in secret["stringData"]["agent.json"]
        assert made.application is not None
        assert key.public in made.application.resource(make_pod(made), key.public)["spec"]["arguments"]

    @pytest.mark.parametrize("username", [name for name in HOSTILE if "\0" not in name])
    def test_a_user_name_is_text_in_one_place(self, spec: Path, username: str) -> None:
        plain, hostile = (resource(EG, folder=spec, username=name)["spec"] for name in ("alice", username))
        assert hostile["arguments"].pop() == f"--owner={username}"
        assert plain["arguments"].pop() == "--owner=alice"
        for each in (plain, hostile):
            for named in ("podName", "labels", "template"):
                assert each["driver"].pop(named)
        assert hostile == plain

    def test_a_literal_image_and_account_are_the_operators_decision_as_in_pods(self, spec: Path) -> None:
        text = EG_TEMPLATE.replace("{{ kernel_image }}", "literal:1").replace(
            '"{{ kernel_service_account_name }}"', "spark"
        )
        write(spec, text)
        driver = resource(EG, folder=spec)["spec"]["driver"]
        assert (driver["image"], driver["serviceAccount"]) == ("literal:1", "spark")
        pod = driver["template"]["spec"]
        assert (pod["containers"][0]["image"], pod["serviceAccountName"]) == ("literal:1", "spark")
        assert "/var/run/secrets/kubernetes.io/serviceaccount" in {
            each["mountPath"] for each in pod["containers"][0]["volumeMounts"]
        }

    def test_what_the_operators_webhook_would_add_to_the_driver_is_in_its_pod(self, spec: Path) -> None:
        more = """\
  volumes: [{name: data, emptyDir: {}}, {name: spark-local-dir-1, emptyDir: {}}, {name: executors, emptyDir: {}}]
  driver:
    env: [{name: MINE, value: "of {{ kernel_username }}"}]
    tolerations: [{key: spark, operator: Exists}]
    podSecurityContext: {fsGroup: 7}
    volumeMounts: [{name: data, mountPath: /data}, {name: spark-local-dir-1, mountPath: /tmp/spill}]
    sidecars: [{name: watcher, image: "watcher:1"}]
    template: {spec: {hostname: here}}
"""
        write(spec, EG_TEMPLATE.replace("  driver:\n", more, 1))
        driver = resource(EG, folder=spec, client={"KERNEL_SPARKAPP_CONFIG_MAP": "conf"})["spec"]["driver"]
        pod = driver["template"]["spec"]
        kernel = pod["containers"][0]
        assert [each["name"] for each in pod["containers"]] == ["spark-kubernetes-driver", "agent", "watcher"]
        assert {"name": "MINE", "value": "of alice"} in kernel["env"]
        assert {"name": "SPARK_CONF_DIR", "value": "/etc/spark/conf"} in kernel["env"]
        assert {"/data", "/etc/spark/conf"} <= {each["mountPath"] for each in kernel["volumeMounts"]}
        assert "/tmp/spill" not in {each["mountPath"] for each in kernel["volumeMounts"]}
        names = {each["name"] for each in pod["volumes"]}
        assert {"data", "spark-configmap-volume"} <= names
        assert "executors" not in names
        assert (pod["hostname"], pod["securityContext"]["fsGroup"]) == ("here", 7)
        assert {"key": "spark", "operator": "Exists"} in pod["tolerations"]
        assert [each["name"] for each in driver["volumeMounts"]] == ["spark-local-dir-1"]
        assert not driver.keys() & {"env", "tolerations", "sidecars", "podSecurityContext"}

    def test_a_volume_of_the_templates_may_be_mounted_where_the_policy_says_so(self, spec: Path) -> None:
        more = "  volumes: [{name: home, emptyDir: {}}]\n  driver:\n    volumeMounts: [{name: home, mountPath: /x}]\n"
        write(spec, EG_TEMPLATE.replace("  driver:\n", more, 1))
        about: dict[str, Any] = {
            "folder": spec,
            "client": {"KERNEL_VOLUME_MOUNTS": "[{name: home, mountPath: /home/me}]"},
        }
        with pytest.raises(Forbidden, match="volume 'home' is the operator's"):
            resource(EG, **about)
        pod = resource(EG, policy=parse_policy("volumes: [template]"), **about)["spec"]["driver"]["template"]
        assert "/home/me" in {each["mountPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]}

    @pytest.mark.parametrize(
        ("template", "words"),
        [
            ("kind: Pod\nspec: {containers: [{image: x}]}", "a Pod cannot be made .* only the SparkApplication can"),
            ("kind: SparkApplication\nspec: []", "spec must be a mapping"),
            ("kind: SparkApplication\nspec: {driver: [1]}", "spec.driver"),
            ("kind: SparkApplication\nspec: {driver: {volumeMounts: x}}", "volumeMounts must be a list"),
            ("kind: SparkApplication\nspec: {sparkConf: [x]}", "sparkConf is a list, and a mapping"),
            (
                "kind: SparkApplication\nspec: {monitoring: {}}",
                r"spec\.monitoring is done by the Spark operator's",
            ),
            ("kind: SparkApplication\nspec: {driver: {gpu: {name: x}}}", r"spec\.driver\.gpu is done by"),
            ("{% include 'x' %}", "line 1: {% include %} is not taken"),
        ],
    )
    def test_a_template_of_another_shape_ends_the_start_in_words(self, spec: Path, template: str, words: str) -> None:
        write(spec, template)
        with pytest.raises(StartFailed, match=words):
            resource(EG, folder=spec)

    def test_a_template_of_another_resource_is_not_made(self, spec: Path) -> None:
        (spec / "scripts" / "sparkoperator.k8s.io-v1beta2.yaml.j2").rename(spec / "scripts" / "ray.io-v1.yaml.j2")
        with pytest.raises(StartFailed, match=r"has no .*sparkoperator.*of custom resources.* only SparkApplications"):
            resource(EG, folder=spec)

    def test_an_option_of_the_script_that_nobody_knows_ends_the_start(self, spec: Path) -> None:
        with pytest.raises(StartFailed, match=r"launch_custom_resource\.py has no option '--frobnicate'"):
            resource((*EG, "--frobnicate"), folder=spec)


class TestPlain:
    """argv is the application itself."""

    def test_the_application_gets_its_arguments_and_what_a_notebook_needs(self) -> None:
        made = resource(config={"executor_image_name": "executor:1"})["spec"]
        assert made["type"] == "Python"
        assert made["mainApplicationFile"] == "local:///opt/kernel.py"
        assert made["arguments"] == ["-f", "/run/enterprise-gateway/connection.json", "--of", KERNEL]
        assert (made["driver"]["image"], made["executor"]["image"]) == ("localhost/kernel:1", "executor:1")
        assert made["executor"]["instances"] == 2
        assert made["sparkConf"]["spark.authenticate"] == "true"
        assert not plan(OWN).reports

    def test_a_launcher_reports_here_as_well(self) -> None:
        argv = ("local:///launch.py", "--response-address", "{response_address}", "--public-key", "{public_key}")
        assert plan(argv).reports
        assert resource(argv)["spec"]["arguments"] == [
            *("--response-address", "127.0.0.1:8877", "--public-key", "the-key")
        ]

    def test_executors_pass_the_strictest_pod_security(self) -> None:
        pod = resource()["spec"]["executor"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]

    def test_executors_that_the_operators_webhook_changes_have_no_template(self, spec: Path) -> None:
        assert "template" in resource(EG, folder=spec)["spec"]["executor"]
        write(spec, EG_TEMPLATE.replace("  executor:\n", "  executor:\n    env: [{name: A, value: b}]\n"))
        assert "template" not in resource(EG, folder=spec)["spec"]["executor"]


@pytest.mark.parametrize("argv", [OWN, EG])
class TestAnyway:
    """What holds whatever the kernel spec says."""

    def test_the_driver_is_the_kernels_pod_in_the_operators_words(self, spec: Path, argv: tuple[str, ...]) -> None:
        made = plan(argv, folder=spec)
        pod = make_pod(made)
        assert made.application is not None
        driver = made.application.resource(pod, "")["spec"]["driver"]
        assert driver["podName"] == pod["metadata"]["name"] == f"alice-{KERNEL}"
        assert driver["template"]["metadata"] == pod["metadata"]
        kernel, agent = driver["template"]["spec"]["containers"]
        assert (kernel["name"], agent["name"]) == ("spark-kubernetes-driver", "agent")
        assert kernel["command"][-1] == "/opt/entrypoint.sh"
        assert pod["spec"]["containers"][0]["name"] == "kernel"

    def test_mode_policy_version_labels_and_namespace(self, spec: Path, argv: tuple[str, ...]) -> None:
        made = resource(argv, folder=spec)
        own = {"app": "enterprise-gateway", "kernel_id": KERNEL}
        assert (made["apiVersion"], made["kind"]) == ("sparkoperator.k8s.io/v1beta2", "SparkApplication")
        assert (made["metadata"]["namespace"], made["metadata"]["labels"]) == ("notebooks", own)
        of = made["spec"]
        assert (of["mode"], of["restartPolicy"]["type"], of["sparkVersion"]) == ("cluster", "Never", "3.0.0")
        assert of["executor"]["labels"] == own | {"component": "worker"}
        assert own.items() | {"component": "kernel"}.items() <= of["driver"]["labels"].items()
        assert of["sparkConf"]["spark.kubernetes.authenticate.executor.serviceAccountName"] == "default"
        assert of["sparkConf"]["spark.kubernetes.namespace"] == "notebooks"
        assert of["timeToLiveSeconds"] == 86400

    def test_the_driver_gets_the_cores_and_the_memory_of_the_kernel(self, spec: Path, argv: tuple[str, ...]) -> None:
        sizes = {"KERNEL_CPUS": "100m", "KERNEL_MEMORY": "1Gi", "KERNEL_MEMORY_LIMIT": "4Gi"}
        driver = resource(argv, folder=spec, client=sizes)["spec"]["driver"]
        assert driver["coreRequest"] == "100m"
        assert "coreLimit" not in driver
        assert sum(int(driver[name].removesuffix("m")) for name in ("memory", "memoryOverhead")) == 4096

    def test_a_clients_options_are_settings_that_count(self, spec: Path, argv: tuple[str, ...]) -> None:
        client = options("--num-executors 3 --conf spark.executor.memory=512m --conf 'spark.x=a b'")
        made = resource(argv, folder=spec, **client)["spec"]
        wanted = {"spark.executor.instances": "3", "spark.executor.memory": "512m", "spark.x": "a b"}
        assert wanted.items() <= made["sparkConf"].items()
        assert not made["executor"].keys() & {"instances", "memory"}

    @pytest.mark.parametrize(
        "refused",
        [
            "--conf spark.kubernetes.driver.secrets.enterprise-gateway=/x",
            "--conf spark.kubernetes.namespace=kube-system",
            "--files /etc/passwd",
            "--packages a:b:1",
        ],
    )
    def test_a_client_gets_nothing_of_the_operators(self, spec: Path, argv: tuple[str, ...], refused: str) -> None:
        with pytest.raises(Forbidden, match="KERNEL_EXTRA_SPARK_OPTS"):
            resource(argv, folder=spec, **options(refused))

    def test_no_secret_is_in_the_resource(self, spec: Path, argv: tuple[str, ...]) -> None:
        assert "hunter2" not in json.dumps(resource(argv, folder=spec, client={"KERNEL_PASSWORD_OF_DB": "hunter2"}))


def test_options_of_the_kernel_spec_are_the_operators_and_have_to_be_settings() -> None:
    made = resource(spec_env={"KERNEL_EXTRA_SPARK_OPTS": "--conf spark.jars.packages=a:b:1"})
    assert made["spec"]["sparkConf"]["spark.jars.packages"] == "a:b:1"
    with pytest.raises(StartFailed, match="'--packages' has to be written as --conf"):
        resource(spec_env={"KERNEL_EXTRA_SPARK_OPTS": "--packages a:b:1"})


@pytest.mark.parametrize(("given", "made"), [("2.4.5", "3.0.0"), ("3.5.1", "3.5.1"), ("4", "4"), ("latest", "3.0.0")])
def test_the_version_is_one_that_knows_templates_of_pods(spec: Path, given: str, made: str) -> None:
    write(spec, EG_TEMPLATE.replace("2.4.5", f"'{given}'"))
    assert resource(EG, folder=spec)["spec"]["sparkVersion"] == made


def test_a_language_without_spark_is_refused() -> None:
    with pytest.raises(StartFailed, match=r"SparkApplication is in Python, R, Scala, Java; .* julia"):
        plain_application(OWN, {}, "julia")
