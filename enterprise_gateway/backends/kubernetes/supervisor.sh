#!/bin/sh
# Runs a kernel's command, life after life, for the agent in the pod's other container; ends with its exit code.
#
#     supervisor.sh [--wait] COMMAND [ARGUMENT...]
#
# Both share a folder with three fifos, made by whoever comes first. Lines:
#
#     events    to the agent     waiting | started PID | exit CODE OOM_KILLS MEMORY_LIMIT
#     signals   from the agent   INT PID, or any other signal: for the kernel's process group
#     orders    from the agent   start | stop | fail: what to do after an exit; fail is to stop with a code that is not 0
#
# The first life begins at once, agent or not; with --wait it needs an order, too. An agent that is gone takes the
# kernel with it. For dash, busybox and bash. The kernel runs in the foreground, because background jobs of a shell
# ignore SIGINT. Variables begin with eg_, because one of the kernel's environment would pass its new value on.

eg_folder=/run/enterprise-gateway
eg_secret=/etc/enterprise-gateway
eg_cgroup=/sys/fs/cgroup

eg_signal() {
    kill -s "$1" -- "-$2" || kill -s "$1" "$2" # it has no group of its own in an image without setsid
}

eg_obey() {
    exec 3>&- 4>&-
    trap '' TERM
    # A fifo that nobody has opened for writing yet ends at once: wait for the agent once, in opening it.
    [ -e "$eg_folder/met" ] || : <"$eg_folder/signals" >"$eg_folder/met"
    while read -r eg_name eg_pid; do
        eg_signal "$eg_name" "$eg_pid"
    done <&5
    echo stop >"$eg_folder/orders" # a signal could come just before the supervisor begins to wait for an order
    read -r eg_pid <"$eg_folder/pid" && eg_signal TERM "$eg_pid" && sleep 5 && eg_signal KILL "$eg_pid"
}

eg_listen() {
    eg_obey 2>/dev/null &
    eg_listener=$!
}

# Some kernels write their connection file again, and some delete it at their end: each life gets a copy of its own.
eg_connect() {
    [ -r "$eg_secret/connection.json" ] || return 0
    IFS= read -r eg_connection <"$eg_secret/connection.json"
    printf %s "$eg_connection" >"$eg_folder/connection.json"
}

eg_live() {
    /bin/sh -c '
        echo "$$" >"$0/pid"
        echo "started $$" >&4
        command -v setsid >/dev/null && exec setsid "$@" 2>&6 3>&- 4>&- 5>&- 6>&-
        exec "$@" 2>&6 3>&- 4>&- 5>&- 6>&-' "$eg_folder" "$@" </dev/null
}

eg_sweep() {
    if [ "$$" = 1 ]; then
        kill -s KILL -- -1
    else
        read -r eg_pid <"$eg_folder/pid" && kill -s KILL -- "-$eg_pid"
        kill -s KILL "$eg_listener"
    fi
    wait "$eg_listener"
}

eg_await() {
    eg_order=stop
    [ -n "$eg_ending" ] || read -r eg_order <&3
}

eg_measure() {
    eg_kills=0 eg_limit=max
    for eg_file in "$eg_cgroup/memory.events" "$eg_cgroup/memory/memory.oom_control"; do
        [ -r "$eg_file" ] && while read -r eg_name eg_value; do
            [ "$eg_name" != oom_kill ] || eg_kills=$eg_value
        done <"$eg_file"
    done
    for eg_file in "$eg_cgroup/memory.max" "$eg_cgroup/memory/memory.limit_in_bytes"; do
        [ -r "$eg_file" ] && read -r eg_limit <"$eg_file"
    done
}

eg_ending=
trap eg_ending=1 TERM
trap : INT
(umask 0 && mkfifo "$eg_folder/events" "$eg_folder/signals" "$eg_folder/orders") 2>/dev/null
until [ -p "$eg_folder/events" ] && [ -p "$eg_folder/signals" ] && [ -p "$eg_folder/orders" ]; do
    sleep 0.1 || sleep 1 # no mkfifo in this image: the agent makes them
done
exec 3<>"$eg_folder/orders" 4<>"$eg_folder/events" 6<>"$eg_folder/signals" 5<"$eg_folder/signals" 6>&-
eg_listen

eg_order=start eg_code=0
if [ "$1" = --wait ]; then
    shift
    echo waiting >&4
    eg_await
fi
while [ "$eg_order" = start ]; do
    eg_measure
    eg_before=$eg_kills
    eg_connect 2>/dev/null
    eg_live "$@" 6>&2 2>/dev/null
    eg_code=$?
    eg_sweep 2>/dev/null
    eg_listen
    eg_measure
    echo "exit $eg_code $((eg_kills - eg_before)) $eg_limit" >&4
    eg_await
done
{ kill -s KILL "$eg_listener"; wait "$eg_listener"; } 2>/dev/null
[ "$eg_order" != fail ] || [ "$eg_code" != 0 ] || eg_code=1
exit "$eg_code"
