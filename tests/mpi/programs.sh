#!/usr/bin/env bash
# segtrain as several processes: stopped, resumed by other numbers of processes, killed, and hung.
# programs.sh SEGTRAIN CONFIG MPIRUN...   (the last argument: the option that takes the number of processes)
set -uo pipefail
segtrain=$1 config=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $1" >&2; cat "$work"/log >&2; exit 1; }

# train PROCESSES RUN ARGUMENTS...: 4 images a step
train() {
  local processes=$1 run=$2
  shift 2
  "${mpirun[@]}" "$processes" "$segtrain" "$config" --device cpu --threads 1 -o "$work/$run" \
    --set data.height=32 --set data.width=64 --set data.crop=[32,32] --set data.train_size=24 --set data.val_size=3 \
    --set train.max_minutes=0 --set train.log_every=1 --set train.epochs=1 --set train.batch=$((4 / processes)) "$@" \
    >"$work/log" 2>&1
}
mpirun=("$@")

# The process of rank $1 of the run $2, once it has reached step $3.
rank_at_step() {
  for _ in $(seq 600); do
    grep -qs "step $3  loss" "$work/log" && break
    sleep 0.1
  done
  for pid in $(pgrep -f "^[^ ]*segtrain .*-o $work/$2 "); do
    tr '\0' '\n' <"/proc/$pid/environ" | grep -qE "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$1$" && echo "$pid" && return
  done
}

# Losses of steps 1 to 6 of one process, against a run of 2 processes that goes on with 4 and then with 1.
train 1 one || fail "one process"
reference=$(grep -o 'step [0-9]*  loss [0-9.]*' "$work/log")
train 2 many --set train.epochs=4000 --set train.checkpoint_every_steps=1 &
job=$!
kill -TERM "$(rank_at_step 1 many 2)" || fail "no process to stop"
wait $job
[ $? -ne 0 ] || fail "a run that is stopped says so by its code"
grep -q "stopped at step" "$work/log" || fail "SIGTERM to one process did not stop all"
grep -o 'step 1  loss [0-9.]*' "$work/log" >"$work/first"
[ "$(echo "$reference" | head -1)" = "$(cat "$work/first")" ] || fail "another first loss than one process has"
for processes in 4 1; do
  train $processes many --resume --set train.epochs=1 || fail "resume with $processes"
done
if train 3 many --resume; then fail "3 processes cannot have 4 images a step"; fi
grep -q "4 images a step over all processes" "$work/log" || fail "the message about images a step"

# kill -9: everything ends at once, and the last checkpoint can be resumed.
train 2 killed --set train.epochs=4000 --set train.checkpoint_every_steps=1 &
job=$!
kill -KILL "$(rank_at_step 1 killed 3)" || fail "no process to kill"
timeout 30 tail --pid=$job -f /dev/null || fail "the others live on after kill -9"
train 1 killed --resume --set train.epochs=1 || fail "resume after kill -9"
grep -q "resumed at epoch" "$work/log" || fail "not resumed after kill -9"

# A process that hangs is named.
train 2 hung --set train.epochs=4000 --set train.comm_timeout=2 &
job=$!
hung=$(rank_at_step 1 hung 2)
kill -STOP "$hung" || fail "no process to stop"
(sleep 8; kill -CONT "$hung" 2>/dev/null) &
timeout 30 tail --pid=$job -f /dev/null || fail "the others wait for a hung process"
grep -qE "rank 1 \(.*\) does not answer: its last step is [0-9]+" "$work/log" || fail "the message about a hung process"
wait
echo "ok"
