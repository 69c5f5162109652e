#!/usr/bin/env bash
#SBATCH --job-name=supernet
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
#
# Run supernet on the nodes of a Slurm job:
#
#   sbatch slurm.sh ray compare --seeds=5 --out=runs/mine       # trainings as Ray tasks
#   sbatch slurm.sh torchrun train --out=runs/mine              # one supernet, data-parallel
#
# Name the run folder with --out, on a disk that all nodes see. Two minutes before the time is up,
# Slurm asks the run to save and to stop (exit code 143); submitted again, the same command goes on.
# PROCESSES is the number of ranks per node with torchrun, 1 by default; one for each GPU is usual.

set -euo pipefail

usage() {
  echo "usage: sbatch slurm.sh ray|torchrun COMMAND OPTIONS..." >&2
  exit 2
}

[[ $# -ge 2 ]] || usage
how=$1
shift

nodes=${SLURM_JOB_NUM_NODES:?this runs inside a Slurm job: sbatch slurm.sh ...}
cpus=${SLURM_CPUS_PER_TASK:-1}
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*} # the first
port=$((20000 + SLURM_JOB_ID % 10000))
started=()

# End what was started here, in whatever way this script ends.
# shellcheck disable=SC2329 # the trap calls it
end_all() {
  if ((${#started[@]})); then
    kill -TERM "${started[@]}" 2>/dev/null || true
  fi
  wait || true
}
trap end_all EXIT

# Wait for the run, and pass on that the time is up.
follow() {
  local run=$1 code=0
  trap 'kill -TERM "$run" 2>/dev/null || true' TERM INT
  wait "$run" || code=$?
  while kill -0 "$run" 2>/dev/null; do # the wait was cut short by the signal
    code=0
    wait "$run" || code=$?
  done
  exit "$code"
}

# Wait until something listens at the head node's port.
wait_for_head() {
  local tries
  for ((tries = 0; tries < ${HEAD_TRIES:-120}; tries++)); do
    if (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null; then
      return
    fi
    sleep 1
  done
  echo "slurm.sh: Ray did not start on $head, port $port; see the output of its step" >&2
  exit 1
}

on_ray() {
  export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_AUTH_TOKEN
  RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') # nobody else may use this cluster
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port="$port" --num-cpus="$cpus" --include-dashboard=false --block &
  started+=($!)
  wait_for_head
  if ((nodes > 1)); then
    srun --overlap --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" \
      ray start --address="$head:$port" --num-cpus="$cpus" --block &
    started+=($!)
  fi
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    supernet "$@" --on="ray:$head:$port" &
  started+=($!)
  follow $!
}

on_torchrun() {
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cpus / ${PROCESSES:-1} > 0 ? cpus / ${PROCESSES:-1} : 1))}
  srun --nodes="$nodes" --ntasks="$nodes" --kill-on-bad-exit=1 \
    torchrun --nnodes="$nodes" --nproc-per-node="${PROCESSES:-1}" --max-restarts=3 \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="$head:$port" \
    -m supernet "$@" &
  started+=($!)
  follow $!
}

case $how in
  ray) on_ray "$@" ;;
  torchrun) on_torchrun "$@" ;;
  *) usage ;;
esac
