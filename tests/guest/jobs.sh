# Sourced by `run`: a queue of jobs, one guest at a time on each processor.
#
# A job is a command line that boots guests; it learns its processor from $GUEST_CPU. Its output is shown as it
# comes, behind the job's name, and kept in $logs/NAME.log. Uses root, logs, chosen, die, say and count_results of `run`.
# shellcheck disable=SC2154

# Empties the queue.
clear_jobs() {
    queue=$(mktemp -d "${TMPDIR:-/tmp}/tarn-jobs.XXXXXX")
    # shellcheck disable=SC2064  # this very directory
    trap "rm -rf -- '$queue'" EXIT
    job_count=0
}

# add_job NAME COMMAND [ARGUMENT...]: appends a job.
add_job() {
    local name=$1
    shift
    job_count=$((job_count + 1))
    printf '%s\0' "$@" >"$queue/$(printf %04d "$job_count").$name.waiting"
}

# Runs one claimed job (a file NUMBER.NAME.running) and leaves its exit code and seconds in NUMBER.NAME.done.
run_job() {
    local file=$1 name code=0 started=$SECONDS argv failed
    name=$(basename "${file%.running}")
    name=${name#*.}
    mapfile -d '' -t argv <"$file"
    "${argv[@]}" 2>&1 </dev/null | tee "$logs/$name.log" | sed -u "s|^|[$name] |" || code=${PIPESTATUS[0]}
    echo "$name $code $((SECONDS - started))" >"${file%.running}.done"
    if ((code)); then
        echo "[$name] failed with exit code $code after $((SECONDS - started)) s"
        # So that `test` counts a guest that died, too.
        read -r _ failed < <(count_results "$logs/$name.log")
        ((failed)) || echo "[$name] test result: no test said why. 0 passed; 1 failed"
    else
        echo "[$name] passed in $((SECONDS - started)) s"
    fi
}

# Takes waiting jobs, in order, until there are none. Renaming a file is the claim.
work_on() {
    local file claimed
    export GUEST_CPU=$1
    while :; do
        claimed=''
        for file in "$queue"/*.waiting; do
            if mv "$file" "${file%.waiting}.running" 2>/dev/null; then
                claimed=${file%.waiting}.running
                break
            fi
        done
        [[ -n $claimed ]] || return 0
        run_job "$claimed"
    done
}

# Runs all jobs and says how they ended; fails if one of them did.
finish_jobs() {
    local processor workers=() name code seconds failed=()
    say "jobs in guests: $job_count, $(allowed_processors | wc -l) at a time; logs in ${logs#"$root"/}"
    for processor in $(allowed_processors); do
        work_on "$processor" &
        workers+=($!)
    done
    wait "${workers[@]}" || true
    while read -r name code seconds; do
        printf '    %-24s %5d s   %s\n' "$name" "$seconds" "$( ((code)) && echo "FAILED ($code)" || echo ok)"
        ((code == 0)) || failed+=("$name")
    done < <(cat "$queue"/*.done)
    (($(cat "$queue"/*.done | wc -l) == job_count)) || die "not every job came to its end"
    ((${#failed[@]} == 0)) || die "failed: ${failed[*]} (see ${logs#"$root"/}/NAME.log)"
}

# Builds all tests and prints a line for each test program: its target's name and its path.
test_programs() {
    cargo test --locked --no-run --message-format=json |
        jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable != null)
               | "\(.target.name) \(.executable)"'
}

# add_test_jobs KIND PROGRAMS SHARDS: deals the ignored tests of the programs (lines of test_programs) out over
# at most SHARDS jobs named KIND-1, KIND-2, ... Tests of one program keep together where they can.
add_test_jobs() {
    local kind=$1 programs=$2 shards=$3 target program test index=0 total rest=4G
    # Those tests read four of their disks, which are others', again and again.
    [[ $kind != crash ]] || rest=96M
    while read -r target program; do
        [[ -n $target ]] || continue
        while read -r test; do
            # Those are for tests/guest/powercut.
            [[ $test == *"$chosen"* && $test != until_the_power_is_cut* ]] || continue
            echo "$program $test" >>"$queue/$kind.$((index % shards)).list"
            index=$((index + 1))
        done < <("$program" --list --ignored --format terse | sed -n 's/: test$//p')
    done <<<"$programs"
    total=$index
    ((total)) || die "$kind: there are no such tests"
    say "$kind: $total tests"
    for ((index = 0; index < shards && index < total; index++)); do
        # The list travels in the checkout: the guest's /tmp is its own.
        mv "$queue/$kind.$index.list" "$logs/$kind-$((index + 1)).list"
        add_job "$kind-$((index + 1))" "$root/tests/guest/boot" --mem 2G --timeout "${TARN_TEST_LIMIT:-3600}" \
            --disk 4G --disk 4G --disk $rest --disk $rest --disk $rest --disk $rest \
            -- "$root/tests/guest/run-tests" "$root" "$logs/$kind-$((index + 1)).list"
    done
}

# add_sanity_jobs PROGRAM TARN: one job for each kind of file system and provisioning.
add_sanity_jobs() {
    local kind provisioning pool disks
    for kind in xfs btrfs ext4 block tmpfs; do
        for provisioning in thin thick memory directory whole; do
            [[ $kind == tmpfs || $provisioning != memory ]] || continue
            [[ $kind != tmpfs || $provisioning == memory ]] || continue
            [[ $kind == xfs || $provisioning != directory ]] || continue
            [[ $kind == ext4 || $kind == block || $provisioning != whole ]] || continue
            [[ $kind-$provisioning == *"$chosen"* ]] || continue
            # Both kinds of pool see thick and thin volumes.
            pool=disk
            [[ $kind-$provisioning != ext4-thick && $kind-$provisioning != block-thin ]] || pool=loop
            [[ ! $provisioning =~ ^(memory|directory|whole)$ ]] || pool=$provisioning
            disks=(--disk 16G)
            # As many volumes as the suite has at once, and some more that are being wiped.
            [[ $pool != whole ]] || mapfile -t disks < <(printf -- '--disk\n96M\n%.0s' {1..12})
            add_job "sanity-$kind-$provisioning" "$root/tests/guest/boot" --mem 2G --timeout 900 "${disks[@]}" --share "$logs" \
                -- "$root/tests/guest/sanity" "$1" "$2" "$kind" "$provisioning" "$pool" \
                "$logs/sanity-$kind-$provisioning.driver.log"
        done
    done
}
