"""Kernel specs made for EG's launch script run without it, by its image's launcher where that does more than a kernel.

Other launch commands are refused with what to write.
"""

from __future__ import annotations

import pytest

from enterprise_gateway.backends.kubernetes import launcher
from enterprise_gateway.backends.kubernetes.launcher import BOOTSTRAP, KernelCommand
from enterprise_gateway.errors import StartFailed

SPEC = "/usr/local/share/jupyter/kernels/python_kubernetes"
SCRIPT = f"{SPEC}/scripts/launch_kubernetes.py"
TEMPLATES = (f"{SPEC}/scripts/kernel-pod.yaml.j2", f"{SPEC}/scripts/kernel-pod.yaml")
IPYKERNEL = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
IRKERNEL = ("R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}")

EG_2018 = (
    *("python", SCRIPT, "{connection_file}", "--RemoteProcessProxy.response-address", "{response_address}"),
    "--RemoteProcessProxy.no-spark-context",
)
EG_TODAY = (
    *("python", SCRIPT, "--RemoteProcessProxy.kernel-id", "{kernel_id}"),
    *("--RemoteProcessProxy.port-range", "{port_range}"),
    *("--RemoteProcessProxy.response-address", "{response_address}"),
    *("--RemoteProcessProxy.public-key", "{public_key}"),
)
PROVISIONERS = (
    *("python", SCRIPT, "--kernel-id", "{kernel_id}", "--port-range", "{port_range}"),
    *("--response-address", "{response_address}", "--public-key", "{public_key}"),
    *("--transport-encryption", "{transport_encryption}"),
)
MODE = "--RemoteProcessProxy.spark-context-initialization-mode"
RUN_SH = (f"{SPEC}/bin/run.sh", "--RemoteProcessProxy.response-address", "{response_address}")


REPORTING = {
    "RESPONSE_ADDRESS": "127.0.0.1:8877",
    "EG_RESPONSE_ADDRESS": "127.0.0.1:8877",
    "PORT_RANGE": "0..0",
    "EG_PORT_RANGE": "0..0",
}


def read_launch_command(
    argv: tuple[str, ...], namespace: dict[str, str], language: str, **config: object
) -> KernelCommand:
    return launcher.read_launch_command(argv, namespace, language, config)


@pytest.mark.parametrize("argv", [EG_2018, EG_TODAY, PROVISIONERS, ("python", SCRIPT), (SCRIPT,)])
def test_the_stock_script_stands_for_a_stock_kernel_and_the_template_beside_it(argv: tuple[str, ...]) -> None:
    assert read_launch_command(argv, {}, "python") == KernelCommand(IPYKERNEL, TEMPLATES)


@pytest.mark.parametrize(
    ("language", "command"), [("python", IPYKERNEL), ("Python", IPYKERNEL), ("R", IRKERNEL), ("r", IRKERNEL)]
)
def test_the_command_is_the_languages(language: str, command: tuple[str, ...]) -> None:
    assert read_launch_command(EG_TODAY, {}, language).argv == command


@pytest.mark.parametrize("flag", ["--kernel-class-name", "--RemoteProcessProxy.kernel-class-name"])
def test_another_kernel_class_is_told_to_ipykernel(flag: str) -> None:
    command = (*IPYKERNEL, "--IPKernelApp.kernel_class=lab.kernels.Careful")
    assert read_launch_command((*EG_TODAY, flag, "lab.kernels.Careful"), {}, "python").argv == command
    assert read_launch_command((*EG_TODAY, f"{flag}=lab.kernels.Careful"), {}, "python").argv == command


def test_the_path_of_the_script_may_hold_the_specs_folder() -> None:
    argv = ("python", "{resource_dir}/scripts/launch_kubernetes.py", "--response-address", "{response_address}")
    assert read_launch_command(argv, {"resource_dir": SPEC}, "python").templates == TEMPLATES


@pytest.mark.parametrize(
    "argv",
    [
        IPYKERNEL,
        ("R", "-e", "IRkernel::main()", "--args", "{connection_file}"),
        ("java", "-jar", "{resource_dir}/kernel.jar", "{connection_file}", "--kernel-id", "{kernel_id}"),
    ],
)
def test_any_other_argv_is_the_kernels_own_command_as_it_stands(argv: tuple[str, ...]) -> None:
    assert read_launch_command(argv, {"resource_dir": SPEC}, "anything") == KernelCommand(argv)


@pytest.mark.parametrize("mode", ["none", ""])
def test_no_spark_context_is_what_there_is(mode: str) -> None:
    argv = (*EG_TODAY, MODE, mode)
    assert read_launch_command(argv, {}, "python").argv == IPYKERNEL


def test_an_option_without_its_value_is_like_none() -> None:
    argv = ("python", SCRIPT, "--kernel-class-name", "--response-address", "{response_address}")
    assert read_launch_command(argv, {}, "python").argv == IPYKERNEL


@pytest.mark.parametrize(
    ("argv", "language", "told"),
    [
        ((*EG_TODAY, "--pod-template", "/tmp/kpt"), "python", "spark-submit"),
        ((*EG_TODAY, "--spark-opts-out=/tmp/opts"), "python", "spark-submit"),
        ((*EG_TODAY, "--our-own-option", "x"), "python", "--our-own-option"),
        (RUN_SH, "python", "launch command"),
        (("python", "launch_docker.py", "--response-address={response_address}"), "python", "launch command"),
    ],
)
def test_what_this_gateway_cannot_do_for_pods_is_refused_in_words(
    argv: tuple[str, ...], language: str, told: str
) -> None:
    with pytest.raises(StartFailed, match=told):
        read_launch_command(argv, {}, language)


@pytest.mark.parametrize("argv", [RUN_SH, (*EG_TODAY, "--pod-template", "/tmp/kpt")])
def test_the_refusal_says_what_to_write_instead(argv: tuple[str, ...]) -> None:
    with pytest.raises(StartFailed) as refused:
        read_launch_command(argv, {}, "python")
    assert '["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]' in refused.value.message


# By the image's launcher.


@pytest.mark.parametrize("mode", ["lazy", "eager"])
@pytest.mark.parametrize("language", ["python", "R", "scala"])
@pytest.mark.parametrize("flag", [MODE, "--spark-context-initialization-mode"])
def test_a_spark_context_is_made_by_the_images_launcher(flag: str, language: str, mode: str) -> None:
    variables = REPORTING | {"KERNEL_SPARK_CONTEXT_INIT_MODE": mode, "KERNEL_NAME": "python_kubernetes"}
    expected = KernelCommand((BOOTSTRAP,), TEMPLATES, variables)
    assert read_launch_command((*EG_TODAY, flag, mode), {}, language) == expected
    assert read_launch_command((*EG_TODAY, f"{flag}={mode}"), {}, language) == expected


@pytest.mark.parametrize("language", ["scala", "Scala", "cobol", ""])
def test_so_is_a_kernel_whose_command_is_not_known_here(language: str) -> None:
    command = read_launch_command(EG_TODAY, {}, language)
    assert command.argv == (BOOTSTRAP,)
    assert command.launcher == REPORTING | {
        "KERNEL_SPARK_CONTEXT_INIT_MODE": "none",
        "KERNEL_NAME": "python_kubernetes",
    }


def test_another_kernel_class_is_told_to_the_launcher() -> None:
    argv = (*EG_TODAY, MODE, "lazy", "--kernel-class-name", "lab.kernels.Careful")
    variables = read_launch_command(argv, {}, "python").launcher
    assert variables is not None
    assert variables["KERNEL_CLASS_NAME"] == "lab.kernels.Careful"


@pytest.mark.parametrize(("language", "own"), [("python", IPYKERNEL), ("R", IRKERNEL)])
def test_an_operator_may_want_the_images_launcher_where_it_is_not_needed(language: str, own: tuple[str, ...]) -> None:
    for wanted in ({}, {"launcher": False}):
        assert read_launch_command(EG_TODAY, {}, language, **wanted) == KernelCommand(own, TEMPLATES)
    command = read_launch_command(EG_TODAY, {}, language, launcher=True)
    assert (command.argv, command.templates) == ((BOOTSTRAP,), TEMPLATES)
    assert command.launcher is not None
    assert command.launcher["KERNEL_SPARK_CONTEXT_INIT_MODE"] == "none"


def test_a_launcher_may_be_the_command_itself() -> None:
    bootstrap = ("/opt/lab/bootstrap-kernel.sh", "--careful")
    assert read_launch_command(bootstrap, {}, "python") == KernelCommand(bootstrap, launcher=REPORTING)
    other = ("/opt/lab/launch",)
    assert read_launch_command(other, {}, "python") == KernelCommand(other)
    assert read_launch_command(other, {}, "python", launcher=True) == KernelCommand(other, launcher=REPORTING)


@pytest.mark.parametrize("wanted", ["true", 1, None, []])
def test_the_wish_for_a_launcher_is_true_or_false(wanted: object) -> None:
    with pytest.raises(StartFailed, match=r"config\.launcher of the kernel spec must be true or false"):
        read_launch_command(EG_TODAY, {}, "python", launcher=wanted)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ({}, BOOTSTRAP),
        ({"spec": {"containers": []}}, BOOTSTRAP),
        ({"spec": {"containers": [{"name": "kernel"}]}}, BOOTSTRAP),
        ({"spec": {"containers": [{"command": ["sleep", "1"]}]}}, BOOTSTRAP),
        ({"spec": {"containers": [{"command": ["/lab/bootstrap-kernel.sh", "-x"]}]}}, "/lab/bootstrap-kernel.sh"),
        ({"spec": {"containers": [{}, {"command": ["/lab/bootstrap-kernel.sh"]}]}}, BOOTSTRAP),
    ],
)
def test_a_template_may_say_where_the_launcher_is(template: dict[str, object], path: str) -> None:
    assert read_launch_command((*EG_TODAY, MODE, "lazy"), {}, "python").as_in(template).argv == (path,)
    assert read_launch_command(EG_TODAY, {}, "python").as_in(template).argv == IPYKERNEL
