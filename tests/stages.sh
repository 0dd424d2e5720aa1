# Sourced by `run`: the stages of `./run test`, one after the other or beside each other, and what came of them.
#
# Uses root, logs, say, duration and what makes sure of tools of `run`.
# shellcheck disable=SC2154

# A stage counts only when what it runs exists.
has_stage() {
    case $1 in
    crash) [[ -e $root/tests/crash.rs || -d $root/tests/crash ]] ;;
    power) [[ -x $root/tests/guest/powercut ]] ;;
    sanity | contract) [[ -e $root/csi-sanity/go.mod ]] ;;
    *) true ;;
    esac
}

# Sums what libtest, ginkgo, go test and powercut said in the given logs: "PASSED FAILED".
count_results() {
    sed -e 's/\x1b\[[0-9;]*m//g' "$@" | awk '
        /test result: |power cuts: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } }
        /[0-9]+ Passed \| [0-9]+ Failed/ { for (i = 2; i <= NF; i++) { if ($i == "Passed") p += $(i-1); if ($i == "Failed") f += $(i-1) } }
        /^--- PASS: / { p++ }
        /^--- FAIL: / { f++ }
        END { printf "%d %d\n", p, f }'
}

# stage NAME COMMAND...: runs a command of this script as a stage of `test`, and remembers how it ended.
stage() {
    local name=$1 started=$SECONDS code=0
    shift
    echo
    say "stage $name"
    "$root/run" "$@" 2>&1 </dev/null | tee "$logs/stage-$name.log" || code=${PIPESTATUS[0]}
    remember "$name" "$code" $((SECONDS - started))
}

# remember NAME CODE SECONDS: a stage has ended, and its log is there.
remember() {
    local name=$1 code=$2 passed failed
    read -r passed failed < <(count_results "$logs/stage-$name.log")
    total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
    if ((code)); then
        failed_stages+=("$name")
        # A stage that fails without a count (a compiler, a dead guest) is a failure too.
        ((failed)) || total_failed=$((total_failed + 1))
    fi
    summary+=("$(printf '%-10s %14s   %6d passed %4d failed   %s' "$name" "$(duration "$3")" \
        "$passed" "$failed" "$( ((code)) && echo FAILED || echo ok)")")
}

# begin_beside NAME COMMAND...: the same in the background; what it says is in its log. One at a time, in processes of
# its own, which go when this script does.
begin_beside() {
    local name=$1
    shift
    say "stage $name begins beside; its log is ${logs#"$root"/}/stage-$name.log"
    set -m
    {
        local started=$SECONDS code=0
        "$root/run" "$@" >"$logs/stage-$name.log" 2>&1 </dev/null || code=$?
        echo "$code $((SECONDS - started))" >"$logs/stage-$name.end"
    } &
    beside=$!
    set +m
    trap 'kill -TERM -- "-$beside" 2>/dev/null || true; wait "$beside" || true' EXIT
}

# end_beside NAME: waits for it, and shows its log.
end_beside() {
    local name=$1 code seconds
    echo
    say "stage $name, which began beside"
    wait "$beside" || true
    trap - EXIT
    cat "$logs/stage-$name.log"
    read -r code seconds <"$logs/stage-$name.end"
    rm "$logs/stage-$name.end"
    remember "$name" "$code" "$seconds"
}

# Of Kubernetes' four long suites every commit is tried with one, by its hash.
suite_of_commit() {
    case $(git rev-parse HEAD) in
    [0-4]*) echo thin ;;
    [5-9]*) echo thick ;;
    [a-c]*) echo directory ;;
    *) echo devices ;;
    esac
}

check_everything() {
    local name beside kinds=() summary=() failed_stages=() total_passed=0 total_failed=0
    ensure_rust
    ensure_go
    ensure_guest
    for name in fmt lint unit contract; do
        if has_stage "$name"; then stage "$name" "$name"; fi
    done
    for name in guest sanity crash power; do
        if has_stage "$name"; then kinds+=("$name"); fi
    done
    # Every change is tried with some kills and power cuts; `./run guest crash power` has all of them.
    export TARN_CRASH_KILLS=${TARN_CRASH_KILLS:-10} TARN_POWER_ROUNDS=${TARN_POWER_ROUNDS:-2} \
        TARN_KILLED_STEPS=${TARN_KILLED_STEPS:-4} TARN_SUITES=${TARN_SUITES:-$(suite_of_commit)}
    # The cluster waits a lot, and the guests take the processors meanwhile, behind it.
    begin_beside cluster cluster
    renice -n 5 -p $$ >/dev/null
    stage guests "${kinds[@]}"
    end_beside cluster
    echo
    printf '%s\n' "${summary[@]}"
    echo
    if ((${#failed_stages[@]})); then
        echo "Tarn's tests failed after $(duration $SECONDS): ${failed_stages[*]}. Logs: ${logs#"$root"/}/stage-NAME.log"
    else
        echo "All of Tarn's tests passed in $(duration $SECONDS)."
    fi
    echo "tests: $total_passed passed, $total_failed failed"
    ((${#failed_stages[@]} == 0))
}
