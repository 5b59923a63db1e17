#!/bin/sh
# One pod's share of the cores of a bucket: every SHARDS-th object, beginning with SHARD. Copies one core at a time, triages it, keeps only the report.
#   SOURCE, RESULTS   rclone places, for example store:crash-cores and store:crash-reports
#   SHARD, SHARDS     this pod's number and how many there are; an indexed Job gives the first as JOB_COMPLETION_INDEX
#   WORK              scratch space for one core (default /work)
# Exit status 0: every core of the share has a report. A core that no longer exists, or cannot be read, has one too.
set -eu
: "${SOURCE:?where the cores are, for example store:crash-cores}" "${RESULTS:?where the reports go}"
SHARD=${SHARD:-${JOB_COMPLETION_INDEX:-0}} SHARDS=${SHARDS:-1} WORK=${WORK:-/work}
list=$WORK/list
rclone lsf --files-only --recursive "$SOURCE" >"$list.unsorted"    # a failure ends it here
LC_ALL=C sort "$list.unsorted" >"$list"
number=0 failed=0
while IFS= read -r name; do
  number=$((number + 1))
  [ $(((number - 1) % SHARDS)) -eq "$SHARD" ] || continue
  core=$WORK/core/${name##*/}
  mkdir -p "$WORK/core"
  rclone copyto "$SOURCE/$name" "$core" </dev/null || echo "fan-out: $name could not be copied" >&2
  status=0
  pygc-triage --quiet --jobs 1 --jsonl "$WORK/report.jsonl" "$core" </dev/null || status=$?
  case $status in
    0 | 1 | 3 | 4 | 5 | 6) rclone copyto "$WORK/report.jsonl" "$RESULTS/$name.jsonl" </dev/null || failed=1 ;;
    *) failed=1 ;;
  esac
  rm -f "$core" "$WORK/report.jsonl"
done <"$list"
exit "$failed"
