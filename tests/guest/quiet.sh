# Three recordings of the same workload at the same time: nothing is compacted. Two with tracepoints only,
# one of each choice of layers that has the buddy's, and one on the highest rung.
# Usage: quiet.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{buddy,both,upper}.trace
folder=$1 python=$2 workload=$3
. "$(dirname "$0")/together.sh"

layer() { # NAME RUNG LAYER COMMAND
    export PAGETIDE_RUNG=$2
    record "$1" "$4" --layer "$3"
}

layer both tracepoints both "touch $ready/one; $(waiting done)" &
one=$!
layer upper fentry buddy "touch $ready/two; $(waiting done)" &
two=$!
work="$python $workload 20; code=\$?; touch $ready/done; exit \$code"
layer buddy tracepoints buddy "$(waiting one); $(waiting two); $work"
code=$?
wait $one && wait $two && exit $code
