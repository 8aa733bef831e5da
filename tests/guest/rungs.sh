# Three recordings of the same workload at the same time, one on each rung of the ladder.
# The one on the lowest, which does not see what compaction takes, looks at all memory each five seconds.
# Usage: rungs.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{tracepoints,kprobes,fentry}.trace
folder=$1 python=$2 workload=$3
. "$(dirname "$0")/together.sh"

rung() { # RUNG COMMAND [OPTION…]
    export PAGETIDE_RUNG=$1
    record "$@"
}

rung tracepoints "touch $ready/one; $(waiting done)" --resync 5s &
one=$!
rung kprobes "touch $ready/two; $(waiting done)" &
two=$!
# Meanwhile the wall clock is set an hour ahead, and back: times in a trace are of another clock.
step() { echo "date -s @\$((\$(date +%s) $1 3600)) >/dev/null"; }
# Until all memory was looked at twice more: the second time begins after all that was before.
looked="ls $folder/tracepoints.trace/frames | grep -c '^resync-[0-9]*[.]parquet'"
rest="seen=\$($looked); $(waiting_until "[ \$($looked) -ge \$((seen + 2)) ]")"
work="$(step +); $python $workload 20 compact; code=\$?; $(step -); sleep 7; $rest"
rung fentry "$(waiting one); $(waiting two); $work; touch $ready/done; exit \$code"
code=$?
wait $one && wait $two && exit $code
