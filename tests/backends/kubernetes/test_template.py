"""Operators' templates: what EG's do, they do here; what a client sends is a value in them and never more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pod_parts import KERNEL, make_parameters

from enterprise_gateway.backends.kubernetes.template import read_template, template_variables
from enterprise_gateway.errors import StartFailed

OF_2018 = """\
apiVersion: v1
kind: Pod
metadata:
  name: $kernel_username-$kernel_id
  namespace: $namespace
  labels:
    kernel_id: $kernel_id
    app: enterprise-gateway
spec:
  restartPolicy: Never
  containers:
  - env:
    - name: EG_RESPONSE_ADDRESS
      value: $response_address
    - name: KERNEL_CONNECTION_FILENAME
      value: $connection_filename
    - name: KERNEL_LANGUAGE
      value: $language
    - name: NO_SPARK_CONTEXT
      value: $no_spark_context
    image: $docker_image
    name: $kernel_username-$kernel_id
    command: ["/usr/local/share/jupyter/kernels/bootstrap-kernel.sh"]
"""

# The constructs of EG's own template, in another pod.
TODAY = """\
# {{ "a comment" }}
kind: Pod
metadata:
  name: "{{ kernel_pod_name }}"
  labels: {owner: "{{ kernel_username }}"}
spec:
  serviceAccountName: "{{ kernel_service_account_name }}"
  {% if kernel_uid is defined or kernel_gid is defined %}
  securityContext:
    {% if kernel_uid is defined %}
    runAsUser: {{ kernel_uid | int }}
    {% endif %}
    runAsGroup: {{ kernel_gid }}
    fsGroup: 100
  {% endif %}
  containers:
  - name: "{{ kernel_pod_name }}"
    image: {{ kernel_image }}
    {% if kernel_cpus is defined or kernel_memory_limit is defined %}
    resources:
      {% if kernel_cpus is defined %}
      requests: {cpu: "{{ kernel_cpus }}"}
      {% endif %}
      {% if kernel_memory_limit is defined %}
      limits: {memory: {{ kernel_memory_limit | yaml_safe }}}
      {% endif %}
    {% endif %}
    {% if kernel_working_dir %}
    workingDir: "{{ kernel_working_dir }}"
    {% endif %}
    volumeMounts:
    {% if kernel_volume_mounts %}
      {% for volume_mount in kernel_volume_mounts %}
    - {{ volume_mount }}
      {% endfor %}
    {% endif %}
  volumes:
  {% for volume in kernel_volumes or [] %}
  - {{ volume | yaml_safe }}
  {% endfor %}
"""

VOLUME = {"name": "home", "persistentVolumeClaim": {"claimName": "home-alice"}}
MOUNT = {"name": "home", "mountPath": "/home/alice"}

HOSTILE = [
    "x\n  hostNetwork: true",
    "x\nspec: {hostPID: true}",
    '"\nhostNetwork: true\nx: "',
    "' }, hostPID: true, x: {y: '",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "$kernel_id ${kernel_id}",
    "--- \nkind: Secret",
    "\n...\n---\n",
    "!!python/object/apply:os.system [id]",
    "&anchor *anchor",
    "# comment",
    "[1, 2]",
    "{a: b}",
    "null",
    "true",
    "007",
    "1e3",
    "2026-01-01",
    "- x",
    "? x",
    "| x",
    "%TAG",
    "\t",
    " ",
    "\\x41\\n",
    "\u2028\u0085\ufeff",
]


def variables(env: dict[str, str] | None = None, **parameters: Any) -> dict[str, Any]:
    return template_variables(
        {"KERNEL_ID": KERNEL, "KERNEL_USERNAME": "alice", "PATH": "/bin"} | (env or {}),
        make_parameters(**parameters),
        pod_name=f"alice-{KERNEL}",
        namespace="notebooks",
        language="python",
    )


def in_pod(lines: str) -> str:
    """A template whose kernel's container has these lines."""
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    return f"kind: Pod\nspec:\n  containers:\n  - image: x\n{indented}"


def container(name: str, lines: str, values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = read_template(name, in_pod(lines), values)["spec"]["containers"][0]
    return found


def test_the_template_of_2018_reads_as_it_did() -> None:
    pod = read_template("kernel-pod.yaml", OF_2018, variables())
    assert pod == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"alice-{KERNEL}",
            "namespace": "notebooks",
            "labels": {"kernel_id": KERNEL, "app": "enterprise-gateway"},
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "env": [
                        {"name": "EG_RESPONSE_ADDRESS"},
                        {"name": "KERNEL_CONNECTION_FILENAME", "value": "/run/enterprise-gateway/connection.json"},
                        {"name": "KERNEL_LANGUAGE", "value": "python"},
                        {"name": "NO_SPARK_CONTEXT", "value": "True"},
                    ],
                    "image": "localhost/kernel:1",
                    "name": f"alice-{KERNEL}",
                    "command": ["/usr/local/share/jupyter/kernels/bootstrap-kernel.sh"],
                }
            ],
        },
    }


def test_todays_template_with_nothing_asked_for() -> None:
    assert read_template("kernel-pod.yaml.j2", TODAY, variables()) == {
        "kind": "Pod",
        "metadata": {"name": f"alice-{KERNEL}", "labels": {"owner": "alice"}},
        "spec": {
            "serviceAccountName": "",
            "securityContext": {"runAsUser": 1000, "runAsGroup": 100, "fsGroup": 100},
            "containers": [{"name": f"alice-{KERNEL}", "image": "localhost/kernel:1"}],
        },
    }


def test_todays_template_with_everything_asked_for() -> None:
    asked = variables(
        requests={"cpu": "500m"},
        limits={"memory": "1e9"},
        volumes=(VOLUME,),
        volume_mounts=(MOUNT,),
        working_dir="/home/alice",
        service_account="lab",
    )
    spec = read_template("kernel-pod.yaml.j2", TODAY, asked)["spec"]
    assert spec["serviceAccountName"] == "lab"
    assert spec["volumes"] == [VOLUME]
    (kernel,) = spec["containers"]
    assert kernel["volumeMounts"] == [MOUNT]
    assert kernel["resources"] == {"requests": {"cpu": "500m"}, "limits": {"memory": "1e9"}}
    assert kernel["workingDir"] == "/home/alice"


def test_a_list_of_volumes_may_be_one_value() -> None:
    asked = variables(volumes=(VOLUME,), volume_mounts=(MOUNT,))
    for name, lines in (
        ("pod.yaml", "volumeMounts: $kernel_volume_mounts"),
        ("pod.yaml.j2", "volumeMounts: {{ kernel_volume_mounts }}"),
        ("pod.yaml.j2", "volumeMounts: {{ kernel_volume_mounts | tojson }}"),
    ):
        assert container(name, lines, asked)["volumeMounts"] == [MOUNT]


def test_raw_text_of_what_has_a_type_is_not_used() -> None:
    raw = {
        "KERNEL_VOLUMES": "[{name: evil, hostPath: {path: /}}]",
        "KERNEL_CPUS": "64",
        "KERNEL_UID": "0",
        "KERNEL_IMAGE": "evil",
        "KERNEL_WORKING_DIR": "/evil",
        "KERNEL_SERVICE_ACCOUNT_NAME": "admin",
        "KERNEL_NAMESPACE": "kube-system",
    }
    assert variables(raw) == variables()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("uid: $kernel_uid", {"uid": 1000}),
        ('uid: "$kernel_uid"', {"uid": "1000"}),
        ("uid: ${kernel_uid}m", {"uid": "1000m"}),
        ("a: ${kernel_username}s", {"a": "alices"}),
        ("a: $kernel_unset\nb: [$kernel_unset, 1]", {"b": [1]}),
        ("a: '-$kernel_unset-'", {"a": "--"}),
        ("a: $HOME $home ${x} $$ $1", {"a": "$HOME $home ${x} $$ $1"}),
        ("a: $$kernel_id $(kernel_id)", {"a": "$$kernel_id $(kernel_id)"}),
        ("a: {{ kernel_id }}", None),
        ("a: 2026-01-01\nb: 0x10\nc: 1.5\nd: no\ne: ~", {"a": "2026-01-01", "b": 16, "c": 1.5, "d": False}),
        ("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}", {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}),
    ],
)
def test_a_dollar_name_stands_for_its_value(lines: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        with pytest.raises(StartFailed, match=r"pod\.yaml, line 5"):
            container("pod.yaml", lines, variables())
    else:
        assert container("pod.yaml", lines, variables()) == {"image": "x"} | expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("a: {{ kernel_uid }}", {"a": 1000}),
        ('a: "{{ kernel_uid }}"', {"a": "1000"}),
        ("a: {{ kernel_uid }}m", {"a": "1000m"}),
        ("a: {{ kernel_uid > 1 }}", {"a": True}),
        ("a: {{ kernel_digits }}\nb: {{ kernel_digits | int }}", {"a": "123", "b": 123}),
        ("a: {{ kernel_unset }}\nb: '{{ kernel_unset }}'", {"b": ""}),
        ("a: {{ None }}", {}),
        ("a: {{ kernel_username | upper }}-{{ kernel_id[:8] }}", {"a": "ALICE-5e755458"}),
        ("{% set x = kernel_username ~ '!' %}\na: {{ x }}", {"a": "alice!"}),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}\na: {{ m(kernel_username) }}", {"a": "<alice>"}),
        ("{% set x %}[{{ kernel_username }}]{% endset %}\na: {{ x }}", {"a": "[alice]"}),
        ("a: $kernel_id", {"a": "$kernel_id"}),
        ("a: |\n  {{ kernel_username }}\n  b: c", {"a": "alice\nb: c\n"}),
    ],
)
def test_a_jinja_expression_stands_for_its_value(lines: str, expected: dict[str, Any]) -> None:
    assert container("pod.yaml.j2", lines, variables({"KERNEL_DIGITS": "123"})) == {"image": "x"} | expected


PLACES = [
    ("pod.yaml", "a: $kernel_x", "{}"),
    ("pod.yaml", "a: '$kernel_x'", "{}"),
    ("pod.yaml", "a: <$kernel_x>", "<{}>"),
    ("pod.yaml", "a: |-\n  [$kernel_x", "[{}"),
    ("pod.yaml.j2", "a: {{ kernel_x }}", "{}"),
    ("pod.yaml.j2", "a: '{{ kernel_x }}'", "{}"),
    ("pod.yaml.j2", 'a: "{{ kernel_x }}"', "{}"),
    ("pod.yaml.j2", "a: {{ kernel_x | yaml_safe }}", "{}"),
    ("pod.yaml.j2", "a: {{ kernel_x | tojson }}", "{}"),
    ("pod.yaml.j2", "a: {{ kernel_x | safe }}", "{}"),
    ("pod.yaml.j2", "a: <{{ kernel_x }}>", "<{}>"),
    ("pod.yaml.j2", "a: |-\n  [{{ kernel_x }}", "[{}"),
    ("pod.yaml.j2", "{% autoescape true %}\na: {{ kernel_x | safe }}\n{% endautoescape %}", "{}"),
    ("pod.yaml.j2", "{% macro m() %}{{ kernel_x }}{% endmacro %}\na: {{ m() }}", "{}"),
    ("pod.yaml.j2", "{% set x %}{{ kernel_x }}{% endset %}\na: {{ x ~ '.' }}", "{}."),
    ("pod.yaml.j2", "a: {{ '<%s>' | format(kernel_x) }}", "<{}>"),
    ("pod.yaml.j2", "# {{ kernel_x }}\na: b", "b"),
]


@pytest.mark.parametrize(("name", "lines", "around"), PLACES)
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_only_a_value(name: str, lines: str, around: str, value: str) -> None:
    values = variables() | {"kernel_x": value}
    assert container(name, lines, values) == {"image": "x", "a": around.replace("{}", value)}


@pytest.mark.parametrize(("name", "lines", "around"), PLACES)
@settings(deadline=None)
@given(value=st.text(min_size=1))
@example(value="$kernel_x")
@example(value="{{ kernel_x }}")
def test_any_text_is_only_a_value(name: str, lines: str, around: str, value: str) -> None:
    values = variables() | {"kernel_x": value}
    assert container(name, lines, values) == {"image": "x", "a": around.replace("{}", value)}


@pytest.mark.parametrize(
    "lines",
    [
        "{{ kernel_x }}: 1",
        "a{{ kernel_x }}: 1",
        "a: !{{ kernel_x }} 1",
        "a: *{{ kernel_x }}",
        "{% filter replace('X', kernel_x) %}a: X{% endfilter %}",
        "{% call kernel_x.upper() %}{% endcall %}",
        "{% macro m() %}{{ kernel_x }}{% endmacro %}\na: {{ m() | upper }}",
        "a: {{ kernel_x.__class__.__mro__ }}",
        "a: {{ kernel_list ~ '' }}\n{{ kernel_x }}: 1",
    ],
)
def test_where_a_value_could_be_more_a_template_is_refused(lines: str) -> None:
    values = variables() | {"kernel_x": "hostPID", "kernel_list": ["x"]}
    with pytest.raises(StartFailed, match=r"pod\.yaml\.j2"):
        container("pod.yaml.j2", lines, values)


@pytest.mark.parametrize("name", ["pod.yaml", "pod.yaml.j2"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "one Pod; it holds 0"),
        ("# nothing\n---\n", "one Pod; it holds 0"),
        ("kind: Pod\nspec: [", "line 3"),
        ("kind: Pod\n  spec: x", "line 2.*mapping values"),
        ("kind: Pod\nspec: \x00", "not valid YAML"),
        ("kind: Pod\nspec: !!python/object:os.system x", "line 2.*tag"),
        ("kind: Pod\nspec: !!binary aGVsbG8=", "line 2.*tag"),
        ("kind: Pod\nspec: !!int x", "line 2.*no int"),
        ("kind: Pod\nspec: !!set {a}", "line 2.*tag"),
        ("kind: Pod\nspec: *x", "undefined alias|unknown"),
        ("kind: Pod\nspec: &x [*x]", "line 2.*itself"),
        ("kind: Pod\nspec: " + "[" * 200_000 + "]" * 200_000, "line 2: nested more than 100 levels"),
        ("kind: Pod\n? [a]\n: b", "line 2.*key"),
        ("just text", "kind"),
        ("- kind: Pod", "kind"),
        ("metadata: {}", "kind"),
        ("kind: Pod", r"spec\.containers"),
        ("kind: Pod\nspec: {containers: []}", r"spec\.containers"),
        ("kind: Pod\nspec: {containers: [x]}", r"spec\.containers"),
        ("kind: Pod\nmetadata: x\nspec: {containers: [{image: x}]}", "metadata"),
        ("kind: Pod\nspec: {containers: [{}]}\n---\nkind: PersistentVolume", "line 4: a PersistentVolume cannot"),
        ("kind: Secret", "a Secret cannot be made"),
        ("kind: Pod\nspec: {containers: [{image: x}]}\n---\nkind: Pod\nspec: {containers: [{}]}", "it holds 2"),
    ],
)
def test_a_broken_template_is_named_with_the_place(name: str, text: str, told: str) -> None:
    with pytest.raises(StartFailed, match=told) as refused:
        read_template(name, text, variables())
    assert refused.value.message.startswith(name)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("a: {{ kernel_id", "line 5"),
        ("\n{% if %}", "line 6"),
        ("{% endif %}", "line 5.*endif"),
        ("a: {{ 1 / 0 }}", "line 5.*zero"),
        ("a: {{ kernel_unset.x }}", "line 5.*undefined"),
        ("a: {{ kernel_id | nope }}", "line 5.*nope"),
        ("a: {{ kernel_id + 1 }}", "line 5"),
        ("{% include 'x' %}", "line 5.*include"),
        ("{% import 'x' as x %}", "line 5.*import"),
        ("{% extends 'x' %}", "line 5.*extends"),
        ("a: 'x{{ kernel_list }}'", "part of a text"),
        ("a: {{ range(1000000) | list }}", "line 5"),
    ],
)
def test_broken_jinja_is_named_with_the_line(lines: str, told: str) -> None:
    with pytest.raises(StartFailed, match=told):
        container("pod.yaml.j2", lines, variables() | {"kernel_list": [{}]})


@pytest.mark.parametrize(("lines", "told"), [("$kernel_id: x", "key"), ("a: x$kernel_volumes", "list")])
def test_a_dollar_name_where_none_can_be_is_named_with_the_line(lines: str, told: str) -> None:
    with pytest.raises(StartFailed, match=f"line 5.*{told}"):
        container("pod.yaml", lines, variables(volumes=(VOLUME,)))
