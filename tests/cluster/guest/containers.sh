# Sourced in a guest that runs containerd. Uses `here` and `await`.
# shellcheck disable=SC2154
log=$GUEST_DIR/log
mkdir -p "$log"

# start NAME COMMAND...: in the background, for good.
start() { setsid "${@:2}" </dev/null >>"$log/$1.log" 2>&1 & }

# The system disk is made at its first use.
mount_system_disk() {
    blkid /dev/ubda >/dev/null || mkfs.ext4 -q -E lazy_itable_init=1,lazy_journal_init=1 /dev/ubda
    mkdir -p /system
    mount /dev/ubda /system
}

start_containerd() {
    start containerd containerd --config "$here/containerd.toml"
    await 60 containerd ctr version
}

# import_images DIRECTORY: gives containerd the images of all archives there, for the kubelet's pods.
import_images() {
    local archive
    for archive in "$1"/*.tar; do
        [[ ! -e $archive ]] || ctr --namespace k8s.io images import "$archive" >>"$log/images.log"
    done
}
