# Three recordings of the same workload at the same time, one on each rung of the ladder.
# The one on the lowest, which does not see what compaction takes, looks at all memory each five seconds.
# Usage: rungs.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{tracepoints,kprobes,fentry}.trace
folder=$1 python=$2 workload=$3
ready=$(mktemp -d)
waiting() { echo "until [ -e $ready/$1 ]; do sleep 1; done"; }

record() { # RUNG COMMAND [OPTION…]
    PAGETIDE_RUNG=$1 COMMAND=$2 RUNG=$1
    shift 2
    export PAGETIDE_RUNG
    "$python" -c 'from replay.main import main; main()' \
        record "$folder/$RUNG.trace" --ring 8MiB "$@" -- sh -c "$COMMAND"
}

record tracepoints "touch $ready/one; $(waiting done)" --resync 5s &
one=$!
record kprobes "touch $ready/two; $(waiting done)" &
two=$!
# Meanwhile the wall clock is set an hour ahead, and back: times in a trace are of another clock.
step() { echo "date -s @\$((\$(date +%s) $1 3600)) >/dev/null"; }
work="$(step +); $python $workload 4 compact; code=\$?; $(step -); sleep 7; touch $ready/done; exit \$code"
record fentry "$(waiting one); $(waiting two); $work"
code=$?
[ $code = 0 ] || touch "$ready/done"
wait $one && wait $two && exit $code
