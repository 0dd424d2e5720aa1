# Sourced by the scripts here: the names and addresses of the one test cluster that a machine can have at a time.
# shellcheck disable=SC2034  # used by those who source this

# Where the built tools and images are kept between runs.
tools=${TARN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tarn}/cluster
programs=$tools/bin
# The network namespace in which all of the cluster lives, and a link to the directory of the cluster that is up.
namespace=tarn-cluster
current=/run/tarn-cluster

# The API server's address among the nodes, and the one that pods know it by: the first of the services' addresses.
gateway=10.231.9.1
service_address=10.96.0.1
service_range=10.96.0.0/24

# Node number N is nodes[N-1]; its address ends in 10+N, and its pods are in 10.244.N.0/24.
nodes=(node-a node-b)
node_address() { echo "10.231.9.1$1"; }
pod_subnet() { echo "10.244.$1.0/24"; }

# node_number NODE: prints its number.
node_number() {
    local index
    for index in "${!nodes[@]}"; do
        [[ ${nodes[index]} != "$1" ]] || { echo $((index + 1)) && return; }
    done
    echo "no node $1; there are ${nodes[*]}" >&2
    return 1
}

# module_version DIRECTORY MODULE: prints which version of a Go module tools/DIRECTORY/go.mod names.
module_version() {
    awk -v module="$2" '$1 == "require" { sub(/^require /, "") } $1 == module { print $2; exit }' \
        "$(dirname "${BASH_SOURCE[0]}")/tools/$1/go.mod"
}

# kubectl ARGUMENT...: in the cluster that is up.
kubectl() { "$(dirname "${BASH_SOURCE[0]}")/inside" kubectl "$@"; }

# start PROGRAM ARGUMENT...: among the cluster's processes, in the background and for good. In the cluster's directory it
# finds its files by relative paths; its output and its number go to log/.
start() {
    setsid ip netns exec "$namespace" "$programs/$1" "${@:2}" </dev/null >>"log/$1.log" 2>&1 &
    echo $! >"log/$1.pid"
}

# step TEXT: says what has been done, with the seconds since the script began.
step() {
    local tenths=$(((${EPOCHREALTIME/./} - began) / 100000))
    printf '    %4d.%d s  %s\n' $((tenths / 10)) $((tenths % 10)) "$*"
}
began=${EPOCHREALTIME/./}

# await SECONDS WHAT COMMAND...: runs the command every tenth of a second until it succeeds.
await() {
    local limit=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < limit)) || { echo "$(basename "$0"): gave up waiting for $what" >&2 && return 1; }
        sleep 0.1
    done
}
