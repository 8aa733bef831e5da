# Three recordings of the same workload at the same time: nothing is compacted. Two with tracepoints only,
# one of each choice of layers that has the buddy's, and one on the highest rung.
# Usage: quiet.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{buddy,both,upper}.trace
folder=$1 python=$2 workload=$3
ready=$(mktemp -d)
waiting() { echo "until [ -e $ready/$1 ]; do sleep 1; done"; }

record() { # NAME RUNG LAYER COMMAND
    PAGETIDE_RUNG=$2 "$python" -c 'from replay.main import main; main()' \
        record "$folder/$1.trace" --layer "$3" --ring 8MiB -- sh -c "$4"
}

record both tracepoints both "touch $ready/one; $(waiting done)" &
one=$!
record upper fentry buddy "touch $ready/two; $(waiting done)" &
two=$!
work="$python $workload 4; code=\$?; touch $ready/done; exit \$code"
record buddy tracepoints buddy "$(waiting one); $(waiting two); $work"
code=$?
[ $code = 0 ] || touch "$ready/done"
wait $one && wait $two && exit $code
