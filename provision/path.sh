#!/usr/bin/env bash
# harness, pytest and python of the venv are found by every shell. Root.
#
# /etc/environment is read by PAM at each login, also for `ssh guest COMMAND`, which starts no login shell. A login
# shell begins with Debian's own PATH instead, so there is a file for these too.
set -euo pipefail

ETC=${ETC:-/etc}
GUEST_HOME=${GUEST_HOME:-$(getent passwd "${SUDO_USER:-vagrant}" | cut -d: -f6)}
BIN=$GUEST_HOME/venv/bin
SYSTEM=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mkdir -p "$ETC/profile.d"
touch "$ETC/environment"
others=$(grep -v '^PATH=' "$ETC/environment" || true)
printf '%s\n' "${others:+$others
}PATH=\"$BIN:$SYSTEM\"" > "$ETC/environment"

cat > "$ETC/profile.d/msgq.sh" <<END
case ":\$PATH:" in
  *":$BIN:"*) ;;
  *) PATH="$BIN:\$PATH" ;;
esac
END
