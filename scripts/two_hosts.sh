#!/usr/bin/env bash
# Trains on two hosts that are one machine: two network namespaces with a wire (veth) between them, names of their own, and Open MPI
# between, started as docs/scale_out.md has it for several machines; instead of ssh, mpirun's agent enters the other namespace.
#
# usage: sudo scripts/two_hosts.sh [SEGTRAIN [CONFIG]]
#
# Checks that each host ran a process, that the gradients went over the wire, and that the losses are, to the last digit printed, those of
# two processes on one host. Exits with 77 where this cannot be tried: not root, no namespaces, no ip, another MPI than Open MPI.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
segtrain=${1:-$repository/build/release/apps/segtrain}
config=${2:-$repository/models/drn_d_22_synthetic.toml}

skip() { echo "two_hosts: skipped: $1"; exit 77; }
fail() { echo "two_hosts: FAILED: $1" >&2; cat "$work"/*.log >&2 2>/dev/null; exit 1; }
[ "$(id -u)" -eq 0 ] || skip "network namespaces are for root"
for program in ip unshare mpirun; do command -v $program >/dev/null || skip "no $program here"; done
mpirun --version 2>/dev/null | grep -q "Open MPI" || skip "mpirun is not Open MPI's"
[ -x "$segtrain" ] || { echo "two_hosts: no segtrain at $segtrain: build it first" >&2; exit 2; }

host1=segrt-a-$$ host2=segrt-b-$$ # hosts and namespaces; the wire's ends are called after the process as well
wire1=sga$$ wire2=sgb$$
work=$(mktemp -d)
had_netns=$([ -d /etc/netns ] && echo yes || echo no)
clean_up() {
  ip netns del "$host1" 2>/dev/null || true
  ip netns del "$host2" 2>/dev/null || true
  rm -rf "$work" "/etc/netns/$host1" "/etc/netns/$host2"
  [ "$had_netns" = yes ] || rmdir /etc/netns 2>/dev/null || true
}
trap clean_up EXIT

ip netns add "$host1" 2>"$work/netns.log" || skip "no network namespaces: $(cat "$work/netns.log")"
ip netns add "$host2" 2>"$work/netns.log" || skip "no network namespaces: $(cat "$work/netns.log")"
ip link add "$wire1" netns "$host1" type veth peer name "$wire2" netns "$host2" 2>"$work/netns.log" ||
  skip "no wire between namespaces: $(cat "$work/netns.log")"
connect() { # HOST WIRE ADDRESS
  ip -n "$1" link set lo up && ip -n "$1" addr add "$3/24" dev "$2" && ip -n "$1" link set "$2" up
  mkdir -p "/etc/netns/$1" # ip netns exec shows these files as those of /etc
  printf '127.0.0.1 localhost\n10.77.0.1 %s\n10.77.0.2 %s\n' "$host1" "$host2" >"/etc/netns/$1/hosts"
}
connect "$host1" "$wire1" 10.77.0.1
connect "$host2" "$wire2" 10.77.0.2

# on_host HOST COMMAND...: with the host's network, its name, and temporary files of its own. Open MPI calls it as it calls ssh.
cat >"$work/on_host" <<END
#!/bin/sh
host=\$1
shift
mkdir -p "$work/\$host"
exec ip netns exec "\$host" unshare --uts sh -c 'hostname "\$0" && TMPDIR="$work/\$0" && export TMPDIR && eval "\$@"' "\$host" "\$*"
END
chmod +x "$work/on_host"
"$work/on_host" "$host2" true 2>"$work/netns.log" || skip "no entering of namespaces: $(cat "$work/netns.log")"

training="$segtrain $config --device cpu --threads 1 --log-ranks --set data.height=32 --set data.width=64 --set data.crop=[32,32]
  --set data.train_size=24 --set data.val_size=2 --set train.epochs=1 --set train.batch=2 --set train.log_every=1 --set train.max_minutes=0
  --set train.comm_timeout=60"
training=$(echo $training)
options="--allow-run-as-root --oversubscribe --bind-to none -np 2"
bytes_sent() { ip netns exec "$host1" cat "/sys/class/net/$wire1/statistics/tx_bytes"; }

before=$(bytes_sent)
"$work/on_host" "$host1" mpirun $options --host "$host1:1,$host2:1" --mca plm_rsh_agent "$work/on_host" \
  --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
  sh -c "'uname -n >$work/ran-on-\$OMPI_COMM_WORLD_RANK; exec $training -o $work/two'" >"$work/two.log" 2>&1 || fail "the run on two hosts"
sent=$(($(bytes_sent) - before))
[ "$(cat "$work/ran-on-0" "$work/ran-on-1" | tr '\n' ' ')" = "$host1 $host2 " ] || fail "not a process on each host"

mpirun $options $training -o "$work/one" >"$work/one.log" 2>&1 || fail "the run on one host"
losses() { grep -o 'step [0-9]*  loss [0-9.]*' "$1"; }
steps=$(losses "$work/one.log" | wc -l)
[ "$steps" -ge 6 ] || fail "no losses of one host"
[ "$(losses "$work/two.log")" = "$(losses "$work/one.log")" ] || fail "two hosts have other losses than one"
# Half of 60 MiB of gradients goes each way, and the sum of the other half back: as much in each step.
[ "$sent" -ge $((steps * 50000000)) ] || fail "the gradients of $steps steps did not go over the wire: $sent bytes"
echo "two_hosts: ok: $host1 and $host2, $steps steps with the losses of one host, $((sent / 1000000)) MB over the wire from one to the other"
