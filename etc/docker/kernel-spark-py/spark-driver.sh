#!/bin/sh
# Runs a kernel's command as a Spark driver: writes what Spark must know about this pod to where every Spark finds it.
#
#     spark-driver COMMAND [ARGUMENT...]
#
# KERNEL_EXTRA_SPARK_OPTS are options of spark-submit, with quotes as a shell has them; nothing in it is run.
set -eu

account=/var/run/secrets/kubernetes.io/serviceaccount
SPARK_CONF_DIR=${TMPDIR:-/tmp}/spark-conf
export SPARK_CONF_DIR

fail() {
    echo "$*" >&2
    exit 1
}

[ -r "$account/token" ] || fail "This kernel has no account in the cluster: KERNEL_SERVICE_ACCOUNT_NAME in the kernel" \
    "spec must name one that may make executors (etc/kubernetes/spark has one)."
image=${KERNEL_EXECUTOR_IMAGE:-${KERNEL_IMAGE:-}}
[ -n "$image" ] || fail "No image is named for executors: set KERNEL_EXECUTOR_IMAGE in env of the kernel spec."
IFS=' ' read -r address _ <<ADDRESSES
$(hostname -i)
ADDRESSES

option() { # option NAME VALUE: NAME is spark-submit's, without the dashes
    case $1 in
    conf)
        case $2 in
        spark.*=*) echo "${2%%=*} ${2#*=}" ;;
        *) fail "KERNEL_EXTRA_SPARK_OPTS: --conf takes spark.NAME=VALUE, not $2" ;;
        esac
        ;;
    driver-memory) echo "spark.driver.memory $2" ;;
    executor-cores) echo "spark.executor.cores $2" ;;
    executor-memory) echo "spark.executor.memory $2" ;;
    files) echo "spark.files $2" ;;
    jars) echo "spark.jars $2" ;;
    name) echo "spark.app.name $2" ;;
    num-executors) echo "spark.dynamicAllocation.initialExecutors $2" ;;
    packages) echo "spark.jars.packages $2" ;;
    py-files) echo "spark.submit.pyFiles $2" ;;
    *) fail "KERNEL_EXTRA_SPARK_OPTS: --$1 is not known here; --conf spark.NAME=VALUE can say everything" ;;
    esac
}

extra() {
    printf '%s\n' "$KERNEL_EXTRA_SPARK_OPTS" | xargs -n 1 printf '%s\n' | while read -r word; do
        case $word in
        --*=*) word=${word#--} && option "${word%%=*}" "${word#*=}" ;;
        --*)
            read -r value || fail "KERNEL_EXTRA_SPARK_OPTS: $word needs a value"
            option "${word#--}" "$value"
            ;;
        *) fail "KERNEL_EXTRA_SPARK_OPTS: $word is no option" ;;
        esac
    done
}

id -un >/dev/null 2>&1 || echo "kernel:x:$(id -u):$(id -g)::$HOME:/bin/sh" >>/etc/passwd
mkdir -p "$SPARK_CONF_DIR"
cp /opt/spark-kernel/log4j2.properties "$SPARK_CONF_DIR"
{
    cat /opt/spark-kernel/spark-defaults.conf
    cat <<SETTINGS
spark.app.name ${KERNEL_USERNAME:-kernel}-${KERNEL_ID:-$HOSTNAME}
spark.driver.host $address
spark.kubernetes.namespace $(cat "$account/namespace")
spark.kubernetes.driver.pod.name $HOSTNAME
spark.kubernetes.executor.container.image $image
spark.kubernetes.executor.podNamePrefix worker-${KERNEL_ID:-$HOSTNAME}
spark.kubernetes.executor.label.kernel_id ${KERNEL_ID:-unknown}
SETTINGS
    [ -z "${KERNEL_EXTRA_SPARK_OPTS:-}" ] || extra
} >"$SPARK_CONF_DIR/spark-defaults.conf"
exec "$@"
