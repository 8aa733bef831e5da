# For scripts with several recordings at the same time, which wait for each other.
# Given: $folder $python. When one of them fails, all end at once, and stderr says which one was first.
ready=$(mktemp -d)

# A command that waits until a test is true, or none of all this has a use any more.
waiting_until() { echo "until $1; do [ ! -e $ready/failed ] || exit 1; sleep 1; done"; }
waiting() { waiting_until "[ -e $ready/$1 ]"; }

record() { # NAME COMMAND [OPTION…]
    name=$1 command=$2
    shift 2
    "$python" -c 'from replay.main import main; main()' \
        record "$folder/$name.trace" --ring 8MiB "$@" -- sh -c "$command" && return
    code=$?
    [ -e "$ready/failed" ] || echo "$name.trace was the first to fail, with code $code" >&2
    touch "$ready/failed"
    return $code
}
