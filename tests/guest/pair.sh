# Two recordings of the same workload at the same time, on the lowest rung and on the highest.
# Usage: pair.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{tracepoints,fentry}.trace
folder=$1 python=$2 workload=$3
ready=$(mktemp -d)
waiting() { echo "until [ -e $ready/$1 ]; do sleep 1; done"; }

record() { # RUNG COMMAND
    PAGETIDE_RUNG=$1 "$python" -c 'from replay.main import main; main()' \
        record "$folder/$1.trace" --ring 8MiB -- sh -c "$2"
}

record tracepoints "touch $ready/one; $(waiting done)" &
one=$!
# After the work, time for a pass of the guest's own reporting.
record fentry "$(waiting one); $python $workload 4; code=\$?; sleep 5; touch $ready/done; exit \$code"
code=$?
[ $code = 0 ] || touch "$ready/done"
wait $one && exit $code
