#!/usr/bin/env bash
# segtrain as several processes: stopped, resumed by other numbers of processes, profiled, killed, and hung.
# programs.sh SEGTRAIN CONFIG MPIRUN...   (the last argument: the option that takes the number of processes)
set -uo pipefail
segtrain=$1 config=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $1" >&2; cat "$work"/log >&2; exit 1; }

# train PROCESSES RUN ARGUMENTS...: 6 images a step, 4 steps an epoch
train() {
  local processes=$1 run=$2
  shift 2
  "${mpirun[@]}" "$processes" "$segtrain" "$config" --device cpu --threads 1 -o "$work/$run" \
    --set data.height=32 --set data.width=64 --set data.crop=[32,32] --set data.train_size=24 --set data.val_size=3 \
    --set train.max_minutes=0 --set train.log_every=1 --set train.epochs=1 --set train.batch=$((6 / processes)) "$@" \
    >"$work/log" 2>&1
}
# The same in the background, as $job.
launch() {
  rm -f "$work/log"
  train "$@" &
  job=$!
}
mpirun=("$@")

# The process of rank $1 of the run $2, once it has done $3 steps.
rank_after_steps() {
  local lines
  for _ in $(seq 600); do
    lines=$(grep -cs 'step [0-9]*  loss' "$work/log")
    [ "${lines:-0}" -ge "$3" ] && break
    sleep 0.1
  done
  for pid in $(pgrep -f "^[^ ]*segtrain .*-o $work/$2 "); do
    tr '\0' '\n' <"/proc/$pid/environ" | grep -qE "^(OMPI_COMM_WORLD_RANK|PMI_RANK)=$1$" && echo "$pid" && return
  done
}

# The samples of every step of a run in the order of the whole batch: item j of process r is number j * processes + r.
sample_order() {
  awk 'FNR == 1 { ++files }
       { at[$1, files - 1] = NF - 1; ++processes[$1]; last = $1 > last ? $1 : last
         for (j = 2; j <= NF; ++j) sample[$1, files - 1, j - 2] = $j }
       END { for (s = 1; s <= last; ++s) {
               line = s
               for (j = 0; j < at[s, 0]; ++j) for (r = 0; r < processes[s]; ++r) line = line " " sample[s, r, j]
               print line } }' "$work/$1"/ranks/*/samples.txt
}

# 2 processes, stopped; resumed with 3, stopped; resumed with 1, to the end of an epoch.
launch 2 many --set train.epochs=4000 --set train.checkpoint_every_steps=1 --log-samples
kill -TERM "$(rank_after_steps 1 many 2)" || fail "no process to stop"
wait $job
[ $? -ne 0 ] || fail "a run that is stopped says so by its code"
grep -q "stopped at step" "$work/log" || fail "SIGTERM to one process did not stop all"
first_loss=$(grep -o 'step 1  loss [0-9.]*' "$work/log")
launch 3 many --resume --set train.epochs=4000 --log-samples
kill -TERM "$(rank_after_steps 2 many 3)" || fail "no process to stop"
wait $job
grep -q "resumed at epoch" "$work/log" || fail "not resumed with 3 processes"
step=$(sed -n 's/.*stopped at step \([0-9]*\).*/\1/p' "$work/log")
[ "${step:-0}" -ge 5 ] || fail "SIGTERM to one of 3 processes did not stop all"
epochs=$((step / 4 + 2))
train 1 many --resume --set train.epochs=$epochs --log-samples || fail "resume with 1 process"
grep -q "resumed at epoch" "$work/log" || fail "not resumed with 1 process"
if train 4 many --resume; then fail "4 processes cannot have 6 images a step"; fi
grep -q "6 images a step over all processes" "$work/log" || fail "the message about images a step"

# One process to the same step: the same samples in the same order in every step, and the same first loss.
train 1 one --set train.epochs=$epochs --log-samples || fail "one process"
[ -n "$first_loss" ] && grep -qF "$first_loss" "$work/log" || fail "another first loss than one process has"
[ "$(wc -l <"$work/one/ranks/0/samples.txt")" -eq $((4 * epochs)) ] || fail "not a line of samples a step"
for rank in 1 2; do [ -s "$work/many/ranks/$rank/samples.txt" ] || fail "no samples of process $rank"; done
sample_order many >"$work/many.txt"
sample_order one | cmp - "$work/many.txt" || fail "other samples than one process has"

# With gradients summed by samples, the weights of one process to the last bit.
for processes in 1 2 3; do
  train $processes summed$processes --set train.sums_by_sample=true || fail "gradients summed by samples"
  "$(dirname "$segtrain")/segmodel" convert "$work/summed$processes/checkpoints/latest.safetensors" \
    "$work/$processes.pth" >"$work/log" 2>&1 || fail "weights of a run"
  cmp "$work/1.pth" "$work/$processes.pth" || fail "$processes processes have other weights than one"
done

# A profile: a trace of each process, with the messages of both communicators.
train 2 profiled --profile "$work/trace.json" --profile-runs 1 || fail "a profile of 2 processes"
for trace in trace.json trace.1.json; do
  for text in '"name": "gradients"' '"name": "norms and losses"' '"name": "bucket 0"' '"name": "backward_pass"'; do
    grep -qF "$text" "$work/$trace" || fail "$trace has no $text"
  done
done
if command -v python3 >/dev/null; then
  "$(dirname "$0")/../../scripts/overlap.py" "$work/trace.json" >>"$work/log" 2>&1 || fail "no messages inside the backward pass"
fi

# kill -9: everything ends at once, and the last checkpoint can be resumed.
launch 2 killed --set train.epochs=4000 --set train.checkpoint_every_steps=1
kill -KILL "$(rank_after_steps 1 killed 3)" || fail "no process to kill"
timeout 30 tail --pid=$job -f /dev/null || fail "the others live on after kill -9"
train 1 killed --resume --set train.epochs=1 || fail "resume after kill -9"
grep -q "resumed at epoch" "$work/log" || fail "not resumed after kill -9"

# A process that hangs is named.
launch 2 hung --set train.epochs=4000 --set train.comm_timeout=2
hung=$(rank_after_steps 1 hung 2)
kill -STOP "$hung" || fail "no process to stop"
(sleep 8; kill -CONT "$hung" 2>/dev/null) &
timeout 30 tail --pid=$job -f /dev/null || fail "the others wait for a hung process"
grep -qE "rank 1 \(.*\) does not answer: its last step is [0-9]+" "$work/log" || fail "the message about a hung process"
wait
echo "ok"
