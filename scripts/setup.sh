#!/usr/bin/env bash
# Installs what segrt builds with, from Debian's packages. Safe to run again: what is there is left alone.
# The CUDA toolkit is NVIDIA's and is used where nvcc is found; nothing here needs a GPU.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache git
  libeigen3-dev libtoml11-dev doctest-dev libstb-dev libdnnl-dev libcli11-dev libfmt-dev
  nlohmann-json3-dev libboost-context-dev zlib1g-dev libonnx-dev libprotobuf-dev libmatio-dev libopenmpi-dev openmpi-bin
)
command -v python3 >/dev/null || packages+=(python3)  # for tests of scripts

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: all ${#packages[@]} packages are there"
else
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update -qq &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: installing failed" >&2
    exit 1
  fi
  rm -f "$log"
fi

if command -v nvcc >/dev/null; then
  echo "setup: CUDA $(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p') at $(command -v nvcc)"
else
  echo "setup: no nvcc: segrt will be built without CUDA (install NVIDIA's toolkit and put nvcc on PATH for it)"
fi
