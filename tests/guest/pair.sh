# Two recordings of the same workload at the same time, on the lowest rung and on the highest.
# Usage: pair.sh FOLDER PYTHON WORKLOAD; makes FOLDER/{tracepoints,fentry}.trace
folder=$1 python=$2 workload=$3
. "$(dirname "$0")/together.sh"

rung() { # RUNG COMMAND
    export PAGETIDE_RUNG=$1
    record "$@"
}

rung tracepoints "touch $ready/one; $(waiting done)" &
one=$!
# After the work, time for a pass of the guest's own reporting.
rung fentry "$(waiting one); $python $workload 20; code=\$?; sleep 5; touch $ready/done; exit \$code"
code=$?
wait $one && exit $code
