#!/usr/bin/env bash
# The limits of message queues, the same in every guest, now and after a restart. Root.
#
# They hold for queues in the machine's own IPC namespace. A private one starts at the kernel's defaults; the harness
# and the labs' checks copy these values into theirs, so both see the same.
set -euo pipefail

ETC=${ETC:-/etc}
FILE=$ETC/sysctl.d/60-msgq.conf

mkdir -p "$ETC/sysctl.d"
cat > "$FILE" <<'END'
# Bytes of one message. The labs count with 8192: it is the kernel's default, and what a worker's buffer holds.
kernel.msgmax = 8192
# Bytes that a new queue holds, and the most messages in it. The labs count with 16384: sixteen messages of 1024 bytes
# fill it, so a full queue is met at once. harness raises it in its private namespace; by hand: sysctl -w.
kernel.msgmnb = 16384
# Queues at one time. The kernel's default is 32000: a program that leaks a queue each second would be noticed after
# nine hours. With 1000 that is a quarter of an hour, and no lab needs so many.
kernel.msgmni = 1000
END

if [ "$ETC" = /etc ]; then
  sysctl --quiet --load "$FILE"
fi
