"""Kernel specs made for EG's launch script run without it; other launch commands are refused with what to write."""

from __future__ import annotations

import pytest

from enterprise_gateway.backends.kubernetes.launcher import KernelCommand, read_launch_command
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
)
RUN_SH = (f"{SPEC}/bin/run.sh", "--RemoteProcessProxy.response-address", "{response_address}")


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
    argv = (*EG_TODAY, "--RemoteProcessProxy.spark-context-initialization-mode", mode)
    assert read_launch_command(argv, {}, "python").argv == IPYKERNEL


def test_an_option_without_its_value_is_like_none() -> None:
    argv = ("python", SCRIPT, "--kernel-class-name", "--response-address", "{response_address}")
    assert read_launch_command(argv, {}, "python").argv == IPYKERNEL


@pytest.mark.parametrize(
    ("argv", "language", "told"),
    [
        ((*EG_TODAY, "--spark-context-initialization-mode", "lazy"), "python", "mode lazy"),
        ((*EG_TODAY, "--RemoteProcessProxy.spark-context-initialization-mode=eager"), "r", "mode eager"),
        ((*EG_TODAY, "--pod-template", "/tmp/kpt"), "python", "spark-submit"),
        ((*EG_TODAY, "--spark-opts-out=/tmp/opts"), "python", "spark-submit"),
        (EG_TODAY, "scala", "language 'scala'"),
        (EG_TODAY, "", "language ''"),
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


@pytest.mark.parametrize("argv", [RUN_SH, (*EG_TODAY, "--spark-context-initialization-mode", "lazy")])
def test_the_refusal_says_what_to_write_instead(argv: tuple[str, ...]) -> None:
    with pytest.raises(StartFailed) as refused:
        read_launch_command(argv, {}, "python")
    assert '["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]' in refused.value.message
