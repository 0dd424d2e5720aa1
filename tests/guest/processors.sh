# Sourced by `boot` and `run`. Prints the processors that this process may use, one a line.
allowed_processors() {
    local ranges range
    ranges=$(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status)
    for range in ${ranges//,/ }; do
        seq "${range%-*}" "${range#*-}"
    done
}
