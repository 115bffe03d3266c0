#!/usr/bin/env bash
# What `vagrant ssh` says first. Root.
set -euo pipefail

ETC=${ETC:-/etc}

cat > "$ETC/motd" <<'END'

System V message queues: the labs, and the harness

  cd /vagrant
  pytest labs/01_preflight      the first lab
  harness lab                   where am I, and what is next
  harness load --rate 500k      put load on a queue
  ipcs -q                       the queues of this machine

Write your lab.py on your own machine; `vagrant rsync` there brings it here, over the one that is here.

END
