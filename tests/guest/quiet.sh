# Two recordings of the same workload at the same time, with tracepoints only: nothing is compacted.
# Usage: quiet.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{buddy,both}.trace
folder=$1 python=$2 workload=$3
ready=$(mktemp -d)
waiting() { echo "until [ -e $ready/$1 ]; do sleep 1; done"; }
export PAGETIDE_RUNG=tracepoints

record() { # LAYER COMMAND
    "$python" -c 'from replay.main import main; main()' \
        record "$folder/$1.trace" --layer "$1" --ring 8MiB -- sh -c "$2"
}

record both "touch $ready/one; $(waiting done)" &
one=$!
record buddy "$(waiting one); $python $workload 4; code=\$?; touch $ready/done; exit \$code"
code=$?
[ $code = 0 ] || touch "$ready/done"
wait $one && exit $code
