# shellcheck shell=bash
# What every demo needs to tell its story: steps, commands and CSI calls that are shown with what they say, and the
# driver. Sourced by the others, which set `csi` (the client), `socket`, `work` (with the driver's log).
driver='' steps=0

if [[ (-t 1 || ${DEMO_COLOURS:-} == yes) && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

step() {
    steps=$((steps + 1))
    printf '\n%s%2d  %s%s\n' "$bold" "$steps" "$1" "$plain"
}

note() { printf '    %s\n' "$1"; }

# indent TEXT [BLANKS]: without a program, of which each costs time.
indent() {
    local blanks=${2-    }
    [[ -z $1 ]] || printf '%s\n' "$blanks${1//$'\n'/$'\n'$blanks}"
}

good() { printf '    %s%s%s\n' "$green" "$1" "$plain"; }

# failed WHY: what is shown of the driver's log is all that a reader needs to find the cause.
failed() {
    printf '\n%sdemo: %s%s\n' "$red" "$1" "$plain" >&2
    [[ ! -s $work/log ]] || { echo 'the last lines of the driver:' && tail -n 12 "$work/log"; } >&2
    exit 1
}

# Shows a command and what it says.
show() {
    local blanks='    ' said code=0
    # LVM begins its lines with two blanks of its own.
    case $1 in lvs | vgs) blanks='  ' ;; esac
    printf '    %s$ %s%s\n' "$dim" "$*" "$plain"
    said=$("$@" 2>&1) || code=$?
    indent "$said" "$blanks"
    ((code == 0)) || failed "\`$*\` failed"
}

# Makes a CSI call, shows it, and leaves the answer's first value in $answer. One client makes all of them.
call() {
    printf '    %scsi> %s%s\n' "$dim" "$*" "$plain"
    local line
    answer=''
    [[ -n ${client_PID:-} ]] || coproc client { exec "$csi" "$socket"; }
    echo "$*" >&"${client[1]}"
    while IFS= read -ru "${client[0]}" line; do
        case $line in
        ok) return ;;
        failed*) failed "the call $1 failed: ${line#failed }" ;;
        esac
        indent "$line"
        [[ -n $answer ]] || read -r _ answer _ <<<"$line"
    done
    failed "the client is gone amid the call $1"
}

# Waits for something that the driver does in the background.
await() {
    local deadline=$((SECONDS + 30))
    until "$@"; do
        ((SECONDS < deadline)) || failed "waited 30 s for: $*"
        sleep 0.05
    done
}

serves() {
    [[ -e /proc/$driver ]] || failed 'the driver ended at once'
    [[ -S $socket ]]
}

# start_driver [FLAG...]: serves the pools of pools.yaml.
# shellcheck disable=SC2120  # some demos have no flags
start_driver() {
    rm -f "$socket"
    note "${dim}\$ tarn standalone --pools pools.yaml --endpoint unix://$socket &$plain"
    tarn standalone --pools pools.yaml --endpoint "unix://$socket" --node-id demo "$@" >>"$work/log" 2>&1 &
    driver=$!
    await serves
}

# The client ends with its input.
end_client() {
    [[ -n ${client_PID:-} ]] || return 0
    local calls=${client[1]}
    exec {calls}>&-
    wait "$client_PID"
}

kill_driver() {
    end_client
    kill -KILL "$driver"
    wait "$driver" 2>/dev/null || true
    driver=''
}

end_it() {
    step 'SIGTERM: running changes finish, then it ends'
    local code=0 ended=$driver
    driver=''
    end_client
    kill -TERM "$ended"
    wait "$ended" || code=$?
    note "exit code $code"
    ((code == 0)) || failed 'the driver did not end well'
}

done_in() { printf '\n%sDone in %d s.%s\n' "$bold" "$SECONDS" "$plain"; }
