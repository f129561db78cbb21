#!/usr/bin/env bash
# Runs test programs, two at a time, each with a time limit, and counts their tests.
#
#   tests/run.sh BUILD [PROGRAM...]      default: every BUILD/tests/test_*
#   TEST_SECONDS=N                       the limit of one program [60]
#   TEST_LANES=N                         programs at a time [2]: many of them wait for most of their time
#
# Shows the output of those that fail and the reasons of those that skip. A process of this build or a shared-memory
# name that a program leaves behind is a failure of its own; so is what it leaves in its folder for temporary files. The last line: "N passed, N failed" (", N skipped").
set -uo pipefail
build=${1:?usage: tests/run.sh BUILD [PROGRAM...]}
shift
limit=${TEST_SECONDS:-60} lanes=${TEST_LANES:-2}
home=$(realpath "$build")
export SLUICE_BUILD=$home
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/cache"
export SLUICE_FETCHED=${SLUICE_FETCHED:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice-tests} # what tests/fetch_models.sh has fetched
export XDG_CACHE_HOME=$work/cache # speeds of models made for tests are none of this machine's

# The longest ones first, so that none of them is left to run by itself at the end.
long='supervision goldens profile faults changed_files kill kernels_attention many_runs'
if [ $# -eq 0 ]; then
    for name in $long; do [ ! -x "$build/tests/test_$name" ] || set -- "$@" "$build/tests/test_$name"; done
    for program in "$build"/tests/test_*; do
        case " $* " in *" $program "*) ;; *) set -- "$@" "$program" ;; esac
    done
fi

# Names in /dev/shm that nobody will take away: sluice-PID-N, made by a process that is no more.
orphans() {
    local name pid
    for name in $(find /dev/shm -maxdepth 1 -name 'sluice-*' -printf '%f\n' 2>/dev/null); do
        pid=${name#sluice-} pid=${pid%%-*}
        [ -e "/proc/$pid" ] || echo "$name"
    done | sort
}

# Processes whose program lies in this build and is one of sluice's, and which test program $1 has started.
stages() {
    local p exe
    for p in /proc/[0-9]*; do
        exe=$(readlink "$p/exe" 2>/dev/null) || continue
        case $exe in "$home"/sluice*) ;; *) continue ;; esac
        if grep -qzx "SLUICE_TEST=$1" "$p/environ" 2>/dev/null; then echo "${exe##*/} (${p#/proc/})"; fi
    done
}

# What program $1 has left in its own $TMPDIR.
litter() {
    local names
    names=$(find "$work/$1.tmp" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort | head -5)
    [ -z "$names" ] || echo "left in \$TMPDIR:" $names "($(find "$work/$1.tmp" -mindepth 2 -printf '%f\n' 2>/dev/null | sort -u | head -5 | tr '\n' ' '))"
    rm -rf "${work:?}/$1.tmp"
}

# What program $1 has left; a process that is ending gets two seconds for it. Each name is told of once.
leftovers() {
    local try names running
    for try in 1 2 3 4 5 6 7 8 9 10; do
        names=$(orphans | comm -13 "$work/orphans" -)
        running=$(stages "$1")
        [ -n "$names$running" ] || return 0
        sleep 0.2
    done
    [ -z "$names" ] || echo "left in /dev/shm, by this program or the one beside it:" $names
    [ -z "$running" ] || echo "left running:" $running
    orphans >"$work/$1.orphans" && mv "$work/$1.orphans" "$work/orphans"
}

# The number in cmocka's line "[  PASSED  ] 12 test(s).", added up over the groups of a program.
count() { sed -nE "s/^\[ +$1 +\] ([0-9]+) test\(s\).*/\1/p" "$2" | awk '{n += $1} END {print n + 0}'; }

# A program that did not come to its summary: what had passed until then counts, and the end of it as one failure.
count_broken() {
    ok=$(grep -cE '^\[ +OK \]' "$1")
    bad=$(grep -cE '^\[ +FAILED +\]' "$1")
    skip=$(grep -cE '^\[ +SKIPPED +\]' "$1")
    bad=$((bad + 1))
}

# Runs program $1; what is to be said of it goes to standard output, its counts to a file.
run() {
    local name=${1##*/} out=$work/${1##*/}.out status=0 ok bad skip left why=
    mkdir "$work/$name.tmp"
    { SLUICE_TEST=$name TMPDIR=$work/$name.tmp timeout --kill-after=5 "$limit" "$1" >"$out" 2>&1 </dev/null; } 2>/dev/null || status=$?
    ok=$(count PASSED "$out") bad=$(count FAILED "$out") skip=$(count SKIPPED "$out")
    if ! grep -qE '^\[ +PASSED +\]' "$out"; then
        count_broken "$out"
        why=" (ended with status $status before its summary)"
        [ $status -ne 124 ] && [ $status -ne 137 ] || why=" (took more than $limit seconds)"
    elif [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1 why=" (exit status $status)"
    fi
    left=$(leftovers "$name"; litter "$name")
    [ -z "$left" ] || bad=$((bad + 1))
    if [ "$bad" -gt 0 ]; then
        echo "FAILED $name$why"
        sed 's/^/    /' "$out"
        [ -z "$left" ] || sed 's/^/    /' <<<"$left"
    elif [ "$skip" -gt 0 ]; then
        echo "ok     $name: $ok, skipped $skip"
        grep -iE '^skip(ped|ping)?\b' "$out" | sort -u | sed 's/^/           /'
    else
        echo "ok     $name: $ok"
    fi
    echo "$ok $bad $skip" >"$work/$name.counts"
}

# One program in a lane of its own; what it says comes out in one piece.
lane() {
    local said
    said=$(run "$1")
    printf '%s\n' "$said"
}

orphans >"$work/orphans"
for program in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge "$lanes" ]; do wait -n; done
    lane "$program" &
done
wait
read -r passed failed skipped < <(cat "$work"/*.counts | awk '{p += $1; f += $2; s += $3} END {print p + 0, f + 0, s + 0}')
missing=$(($# - $(find "$work" -name '*.counts' | wc -l)))
failed=$((failed + missing))
line="$passed passed, $failed failed"
[ "$skipped" -eq 0 ] || line+=", $skipped skipped"
echo "$line"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
