#!/usr/bin/env bash
# Debian's packages: a compiler for the native engine, venv for Python, and what the labs' terminals use.
# Needs no network where all are there. Root.
set -euo pipefail

PACKAGES=(gcc libc6-dev make python3-dev python3-venv netcat-openbsd util-linux procps rsync)

missing=()
for package in "${PACKAGES[@]}"; do
  status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
  echo "packages: all are there"
  exit 0
fi

echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if ! apt-get update -qq || ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; then
  echo "packages: the guest could not fetch them; behind a proxy, or without internet: see docs/vm.md" >&2
  exit 1
fi
