"""The table of settings: the one place where a setting is written down.

Command-line options, environment variables, configuration keys, `--show-config`, `--generate-config` and
docs/configuration.md are derived from it (`config.option.table`). Names and defaults that Jupyter Enterprise
Gateway (EG) has are kept, except where a comment says why not. Pure and immutable.
"""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec

from enterprise_gateway.config import kinds
from enterprise_gateway.config.option import Group, Option, table
from enterprise_gateway.config.ports import PortRange

MIB = 2**20


def _mapping_manager(trait: str) -> tuple[str, ...]:
    """A trait that EG inherits from Jupyter's managers of many kernels, by the class names people use."""
    classes = ("RemoteMappingKernelManager", "AsyncMappingKernelManager", "MappingKernelManager")
    return tuple(f"{name}.{trait}" for name in classes)


def _kernel_manager(trait: str) -> tuple[str, ...]:
    """A trait that EG inherits from Jupyter's managers of one kernel."""
    return tuple(f"{name}.{trait}" for name in ("RemoteKernelManager", "AsyncKernelManager", "KernelManager"))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway runs with. Durations are seconds, sizes are bytes."""

    # fmt: off
    # The formatter would give every parenthesis a line of its own; a row is easier to find in four.

    ip: Annotated[str, Option(
        kinds.TEXT, Group.LISTEN, ("EG_IP", "KG_IP"),
        "Address to listen on. Use 0.0.0.0 or :: for all interfaces.",
    )] = "127.0.0.1"
    port: Annotated[int, Option(
        kinds.PORT, Group.LISTEN, ("EG_PORT", "KG_PORT"),
        "Port to listen on; 0 picks a free one.",
    )] = 8888
    port_retries: Annotated[int, Option(
        kinds.integer(0), Group.LISTEN, ("EG_PORT_RETRIES", "KG_PORT_RETRIES"),
        "How many other ports to try when the port is taken; 0 makes a taken port an error.",
    )] = 50
    base_url: Annotated[str, Option(
        kinds.BASE_URL, Group.LISTEN, ("EG_BASE_URL", "KG_BASE_URL"),
        "Path under which everything is served.",
    )] = "/"
    public_url: Annotated[str, Option(
        kinds.URL, Group.LISTEN, ("EG_PUBLIC_URL",),
        "Address at which browsers reach the gateway, with its base URL. With it, Spark notebooks show a link to their "
        "Spark UI.",
    )] = ""
    trust_xheaders: Annotated[bool, Option(
        kinds.BOOLEAN, Group.LISTEN, ("EG_TRUST_XHEADERS", "KG_TRUST_XHEADERS"),
        "Whether X-Real-IP and X-Forwarded-* name the client. Only for a gateway that a proxy alone can "
        "reach.",
    )] = False
    max_body_size: Annotated[int, Option(
        kinds.SIZE, Group.LISTEN, ("EG_MAX_BODY_SIZE",),
        "The largest request body that is read.",
    )] = 4 * MIB

    certfile: Annotated[str | None, Option(
        kinds.PATH, Group.TLS, ("EG_CERTFILE", "KG_CERTFILE"),
        "Certificate chain in PEM form. Setting it switches TLS on.",
    )] = None
    keyfile: Annotated[str | None, Option(
        kinds.PATH, Group.TLS, ("EG_KEYFILE", "KG_KEYFILE"),
        "Private key in PEM form, when the certificate file does not hold it.",
    )] = None
    client_ca: Annotated[str | None, Option(
        kinds.PATH, Group.TLS, ("EG_CLIENT_CA", "KG_CLIENT_CA"),
        "Certificate authority in PEM form. Setting it makes a client certificate of that authority "
        "mandatory.",
    )] = None
    ssl_version: Annotated[int | None, Option(
        kinds.optional(kinds.integer(0)), Group.TLS, ("EG_SSL_VERSION", "KG_SSL_VERSION"),
        "The TLS version to speak, as the number of a ssl.PROTOCOL_* constant of Python (5 is TLS 1.2). "
        "Unset means TLS 1.2 or newer.",
    )] = None
    authorized_origin: Annotated[str, Option(
        kinds.TEXT, Group.TLS, ("EG_AUTHORIZED_ORIGIN",),
        "Host name that a client's certificate must carry. Needs client_ca.",
    )] = ""

    # EG is open unless a token is given. Here silence is not the same as wanting no token.
    auth_token: Annotated[str | None, Option(
        kinds.CREDENTIAL, Group.ACCESS, ("EG_AUTH_TOKEN", "KG_AUTH_TOKEN"),
        "Token every request must carry. When it is not set, a new one is made at each start and shown; "
        "empty means that no token is asked for.",
        secret=True,
    )] = None
    token_file: Annotated[str | None, Option(
        kinds.PATH, Group.ACCESS, ("EG_TOKEN_FILE",),
        "File of further tokens, each with the name and the role of who holds it.",
    )] = None
    allow_unauthenticated: Annotated[bool, Option(
        kinds.BOOLEAN, Group.ACCESS, ("EG_ALLOW_UNAUTHENTICATED",),
        "Whether a gateway that asks for no credential may listen on more than this machine's loopback "
        "address.",
    )] = False
    authorized_users: Annotated[frozenset[str], Option(
        kinds.USERS, Group.ACCESS, ("EG_AUTHORIZED_USERS",),
        "The only users who may start kernels. Unset means everybody; set but empty means nobody.",
        traits=("RemoteKernelManager.authorized_users",),
    )] = frozenset()
    unauthorized_users: Annotated[frozenset[str], Option(
        kinds.USERS, Group.ACCESS, ("EG_UNAUTHORIZED_USERS",),
        "Users who may not start kernels, whatever authorized_users says.",
        traits=("RemoteKernelManager.unauthorized_users",),
    )] = frozenset({"root"})

    allow_origin: Annotated[str, Option(
        kinds.TEXT, Group.CORS, ("EG_ALLOW_ORIGIN", "KG_ALLOW_ORIGIN"),
        "Access-Control-Allow-Origin of every response, and the origin that may open websockets; * is "
        "any.",
    )] = ""
    allow_credentials: Annotated[str, Option(
        kinds.TEXT, Group.CORS, ("EG_ALLOW_CREDENTIALS", "KG_ALLOW_CREDENTIALS"),
        "Access-Control-Allow-Credentials of every response.",
    )] = ""
    allow_headers: Annotated[str, Option(
        kinds.TEXT, Group.CORS, ("EG_ALLOW_HEADERS", "KG_ALLOW_HEADERS"),
        "Access-Control-Allow-Headers of every response.",
    )] = ""
    allow_methods: Annotated[str, Option(
        kinds.TEXT, Group.CORS, ("EG_ALLOW_METHODS", "KG_ALLOW_METHODS"),
        "Access-Control-Allow-Methods of every response.",
    )] = ""
    expose_headers: Annotated[str, Option(
        kinds.TEXT, Group.CORS, ("EG_EXPOSE_HEADERS", "KG_EXPOSE_HEADERS"),
        "Access-Control-Expose-Headers of every response.",
    )] = ""
    max_age: Annotated[str, Option(
        kinds.TEXT, Group.CORS, ("EG_MAX_AGE", "KG_MAX_AGE"),
        "Access-Control-Max-Age of every response.",
    )] = ""

    default_kernel_name: Annotated[str, Option(
        kinds.KERNEL_NAME, Group.KERNELS, ("EG_DEFAULT_KERNEL_NAME", "KG_DEFAULT_KERNEL_NAME"),
        "Kernel spec that is started when a request names none.",
        traits=(*_mapping_manager("default_kernel_name"), "MultiKernelManager.default_kernel_name"),
    )] = "python3"
    allowed_kernels: Annotated[tuple[str, ...], Option(
        kinds.NAMES, Group.KERNELS, ("EG_ALLOWED_KERNELS", "EG_KERNEL_WHITELIST"),
        "The only kernel specs that are listed and can be started. Empty means all.",
        traits=("KernelSpecManager.allowed_kernelspecs", "KernelSpecManager.whitelist"),
    )] = ()
    # EG hides running kernels by default, and every stock Jupyter client needs to see them.
    list_kernels: Annotated[bool, Option(
        kinds.BOOLEAN, Group.KERNELS, ("EG_LIST_KERNELS", "KG_LIST_KERNELS"),
        "Whether GET /api/kernels and GET /api/sessions answer with the caller's kernels.",
    )] = True
    max_kernels: Annotated[int | None, Option(
        kinds.optional(kinds.integer(0)), Group.KERNELS, ("EG_MAX_KERNELS", "KG_MAX_KERNELS"),
        "How many kernels may run at once. Unset means no limit.",
    )] = None
    max_kernels_per_user: Annotated[int, Option(
        kinds.integer(-1, note="-1 = no limit"), Group.KERNELS, ("EG_MAX_KERNELS_PER_USER",),
        "How many kernels one user may run at once; -1 means no limit.",
        traits=("RemoteKernelManager.max_kernels_per_user",),
    )] = -1
    port_range: Annotated[PortRange, Option(
        kinds.PORT_RANGE, Group.KERNELS, ("EG_PORT_RANGE",),
        "Ports kernels may use; equal ends mean any port.",
        traits=("RemoteKernelManager.port_range",),
    )] = PortRange(0, 0)
    min_port_range_size: Annotated[int, Option(
        kinds.integer(0), Group.KERNELS, ("EG_MIN_PORT_RANGE_SIZE",),
        "How many ports a port range must have at least.",
    )] = 1000

    client_envs: Annotated[tuple[str, ...], Option(
        kinds.NAMES, Group.ENVIRONMENT, ("EG_CLIENT_ENVS", "EG_ENV_WHITELIST", "KG_ENV_WHITELIST"),
        "Environment variables besides KERNEL_* that a start request may set; * means any.",
        traits=("EnterpriseGatewayApp.env_whitelist", "RemoteKernelManager.client_envs"),
    )] = ()
    inherited_envs: Annotated[tuple[str, ...], Option(
        kinds.NAMES, Group.ENVIRONMENT,
        ("EG_INHERITED_ENVS", "EG_ENV_PROCESS_WHITELIST", "KG_ENV_PROCESS_WHITELIST"),
        "Environment variables of the gateway that kernels get too.",
        traits=("EnterpriseGatewayApp.env_process_whitelist", "RemoteKernelManager.inherited_envs"),
    )] = ()

    start_wait: Annotated[float, Option(
        kinds.SECONDS, Group.LIFE, ("EG_START_WAIT",),
        "How long a start request is held for the kernel to become ready before it is answered with a "
        "kernel that is still starting.",
    )] = 10.0
    kernel_launch_timeout: Annotated[float, Option(
        kinds.SECONDS, Group.LIFE, ("EG_KERNEL_LAUNCH_TIMEOUT",),
        "How long a kernel may take to start, unless KERNEL_LAUNCH_TIMEOUT of the request says otherwise.",
    )] = 30.0
    warm_kernels: Annotated[int, Option(
        kinds.integer(0), Group.LIFE, ("EG_WARM_KERNELS",),
        "How many kernels of the default kernel spec to keep started ahead of requests.",
    )] = 0
    autorestart: Annotated[bool, Option(
        kinds.BOOLEAN, Group.LIFE, ("EG_AUTORESTART",),
        "Whether a kernel that dies is started again.",
        traits=_kernel_manager("autorestart"),
    )] = True
    restart_limit: Annotated[int, Option(
        kinds.integer(0), Group.LIFE, ("EG_RESTART_LIMIT",),
        "How many times in a row a dying kernel is started again before it is given up.",
        traits=("AsyncIOLoopKernelRestarter.restart_limit", "KernelRestarter.restart_limit"),
    )] = 5
    shutdown_wait_time: Annotated[float, Option(
        kinds.SECONDS, Group.LIFE, ("EG_SHUTDOWN_WAIT_TIME",),
        "How long a kernel may take to end by itself before it is killed.",
        traits=_kernel_manager("shutdown_wait_time"),
    )] = 5.0
    reason_retention: Annotated[float, Option(
        kinds.SECONDS, Group.LIFE, ("EG_REASON_RETENTION",),
        "How long the reason of a kernel's end stays readable.",
    )] = 240.0
    orphan_timeout: Annotated[float, Option(
        kinds.SECONDS, Group.LIFE, ("EG_ORPHAN_TIMEOUT",),
        "How long a kernel lives on without a gateway, a client and work to do; 0 means for ever.",
    )] = 86400.0

    cull_idle_timeout: Annotated[float, Option(
        kinds.SECONDS, Group.CULLING, ("EG_CULL_IDLE_TIMEOUT",),
        "How long a kernel may be idle before it is ended; 0 means for ever.",
        traits=_mapping_manager("cull_idle_timeout"),
    )] = 0.0
    cull_connected: Annotated[bool, Option(
        kinds.BOOLEAN, Group.CULLING, ("EG_CULL_CONNECTED",),
        "Whether kernels with connected clients are ended too.",
        traits=_mapping_manager("cull_connected"),
    )] = False
    cull_busy: Annotated[bool, Option(
        kinds.BOOLEAN, Group.CULLING, ("EG_CULL_BUSY",),
        "Whether busy kernels are ended too.",
        traits=_mapping_manager("cull_busy"),
    )] = False
    cull_max_age: Annotated[float, Option(
        kinds.SECONDS, Group.CULLING, ("EG_CULL_MAX_AGE",),
        "How long a kernel may live, idle or not; 0 means for ever.",
    )] = 0.0

    ws_ping_interval: Annotated[float, Option(
        kinds.SECONDS, Group.CHANNELS, ("EG_WS_PING_INTERVAL_SECS",),
        "How often an idle websocket is pinged; 0 means never.",
    )] = 30.0
    max_message_size: Annotated[int, Option(
        kinds.SIZE, Group.CHANNELS, ("EG_MAX_MESSAGE_SIZE",),
        "The largest websocket message a client may send.",
    )] = 128 * MIB
    replay_buffer_size: Annotated[int, Option(
        kinds.SIZE, Group.CHANNELS, ("EG_REPLAY_BUFFER_SIZE",),
        "How much unacknowledged output is kept for each session of a kernel.",
    )] = 64 * MIB
    session_grace: Annotated[float, Option(
        kinds.SECONDS, Group.CHANNELS, ("EG_SESSION_GRACE",),
        "How long output is kept for a session whose client is gone.",
    )] = 3600.0

    backends: Annotated[tuple[str, ...], Option(
        kinds.some_of("local", "kubernetes"), Group.KUBERNETES, ("EG_BACKENDS",),
        "Where kernels may run: local, kubernetes, or both. Unset means kubernetes when kubernetes_namespace is "
        "set, else local.",
    )] = ()
    kubernetes_namespace: Annotated[str, Option(
        kinds.TEXT, Group.KUBERNETES, ("EG_KUBERNETES_NAMESPACE", "EG_NAMESPACE"),
        "Namespace of kernels' pods and of the gateway's own Secret. Unset means the one of the service account or of "
        "the kubeconfig's context.",
    )] = ""
    kernel_image: Annotated[str, Option(
        kinds.TEXT, Group.KUBERNETES, ("EG_KERNEL_IMAGE", "EG_KUBERNETES_KERNEL_IMAGE"),
        "Image of kernels whose kernel spec names none.",
    )] = ""
    agent_image: Annotated[str, Option(
        kinds.TEXT, Group.KUBERNETES, ("EG_AGENT_IMAGE",),
        "Image of the agent beside each kernel. Unset means the image of the gateway's own pod; a gateway outside the "
        "cluster has to be told.",
    )] = ""
    pod_policy: Annotated[str | None, Option(
        kinds.PATH, Group.KUBERNETES, ("EG_POD_POLICY",),
        "YAML file that says what clients may choose about their kernels' pods.",
    )] = None
    prohibited_uids: Annotated[frozenset[int], Option(
        kinds.IDS, Group.KUBERNETES, ("EG_PROHIBITED_UIDS",),
        "User ids that KERNEL_UID may not be.",
    )] = frozenset({0})
    prohibited_gids: Annotated[frozenset[int], Option(
        kinds.IDS, Group.KUBERNETES, ("EG_PROHIBITED_GIDS",),
        "Group ids that KERNEL_GID may not be.",
    )] = frozenset({0})
    mirror_working_dirs: Annotated[bool, Option(
        kinds.BOOLEAN, Group.KUBERNETES, ("EG_MIRROR_WORKING_DIRS",),
        "Whether KERNEL_WORKING_DIR becomes the working directory of a kernel's container; the folder must exist in "
        "its image or volumes.",
    )] = False
    default_kernel_service_account_name: Annotated[str, Option(
        kinds.TEXT, Group.KUBERNETES, ("EG_DEFAULT_KERNEL_SERVICE_ACCOUNT_NAME",),
        "Service account of kernels' pods; its token is mounted only where KERNEL_SERVICE_ACCOUNT_NAME asks for one.",
    )] = "default"
    unschedulable_grace: Annotated[float, Option(
        kinds.SECONDS, Group.KUBERNETES, ("EG_UNSCHEDULABLE_GRACE",),
        "How long a kernel's pod may find no node before its start fails. An autoscaler that adds a node in that time "
        "is waited for.",
    )] = 15.0
    slow_start_timeout: Annotated[float, Option(
        kinds.SECONDS, Group.KUBERNETES, ("EG_SLOW_START_TIMEOUT",),
        "How long a start may take while an image is pulled or a node is added, beyond kernel_launch_timeout.",
    )] = 900.0
    response_ip: Annotated[str, Option(
        kinds.TEXT, Group.KUBERNETES, ("EG_RESPONSE_IP",),
        "Address at which the pods of new kernels reach this gateway to say that they are there. Unset means the "
        "address from which it reaches the API server.",
    )] = ""
    response_port: Annotated[int, Option(
        kinds.PORT, Group.KUBERNETES, ("EG_RESPONSE_PORT",),
        "Port for the pods of new kernels; 0 picks a free one.",
    )] = 8877

    state_dir: Annotated[str | None, Option(
        kinds.PATH, Group.OPERATIONS, ("EG_STATE_DIR",),
        "Folder in which the gateway finds its local kernels again. Unset means enterprise-gateway in "
        "Jupyter's runtime folder.",
    )] = None
    ops_ip: Annotated[str, Option(
        kinds.TEXT, Group.OPERATIONS, ("EG_OPS_IP",),
        "Address of /livez, /readyz and /metrics, which ask for no credential.",
    )] = "127.0.0.1"
    ops_port: Annotated[int, Option(
        kinds.PORT, Group.OPERATIONS, ("EG_OPS_PORT",),
        "Port of /livez, /readyz and /metrics; 0 picks a free one.",
    )] = 8889
    log_level: Annotated[int, Option(
        kinds.LOG_LEVEL, Group.OPERATIONS, ("EG_LOG_LEVEL",),
        "The least important messages that are logged.",
        traits=("JupyterApp.log_level", "Application.log_level"),
    )] = logging.INFO
    log_format: Annotated[str, Option(
        kinds.one_of("text", "json"), Group.OPERATIONS, ("EG_LOG_FORMAT",),
        "Shape of log lines: text for people, json for one object a line.",
    )] = "text"
    dynamic_config_interval: Annotated[float, Option(
        kinds.SECONDS, Group.OPERATIONS, ("EG_DYNAMIC_CONFIG_INTERVAL",),
        "How often changed configuration files are looked for; 0 means never. Limits, users, environment and culling "
        "rules and the log level follow them for kernels started from then on; other settings need a restart.",
    )] = 0.0
    drain_timeout: Annotated[float, Option(
        kinds.SECONDS, Group.OPERATIONS, ("EG_DRAIN_TIMEOUT",),
        "How long a gateway that is told to stop may take to hand over its connections.",
    )] = 20.0

    # fmt: on

    def __repr__(self) -> str:
        """What differs from the defaults, secrets as stars."""
        told = []
        for field in table(type(self)):
            value = getattr(self, field.name)
            if value != field.default:
                told.append(f"{field.name}={'********' if field.option.secret else repr(value)}")
        return f"Settings({', '.join(told)})"
