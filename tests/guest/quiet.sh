# Two recordings of the same workload at the same time, with tracepoints only: nothing is compacted.
# Usage: quiet.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{buddy,both}.trace
folder=$1 python=$2 workload=$3
. "$(dirname "$0")/together.sh"
export PAGETIDE_RUNG=tracepoints

layer() { # LAYER COMMAND
    record "$1" "$2" --layer "$1"
}

layer both "touch $ready/one; $(waiting done)" &
one=$!
layer buddy "$(waiting one); $python $workload 20; code=\$?; touch $ready/done; exit \$code"
code=$?
wait $one && exit $code
