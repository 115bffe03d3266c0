#!/usr/bin/env bash
# The project, with its native engine, in ~/venv. The guest's ordinary user.
# From wheels in vendor/ where `make offline` put them, else from the package index. Nothing is done where nothing changed.
set -euo pipefail

PROJECT=${PROJECT:-/vagrant}
VENV=${VENV:-$HOME/venv}

cd "$PROJECT"
# What an installation depends on. Other files of the project are used where they lie, so `vagrant rsync` is enough.
built_from=$(cat pyproject.toml setup.py harness/engines/*.pyx provision/project.sh | sha256sum)
stamp=$VENV/built-from
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$built_from" ]; then
  echo "project: nothing changed"
  exit 0
fi

source=()
if compgen -G 'vendor/*.whl' >/dev/null; then
  source=(--no-index --find-links "$PWD/vendor")
  echo "project: installing from vendor/"
else
  echo "project: installing from the package index"
fi

[ -x "$VENV/bin/python" ] || python3 -m venv --clear "$VENV"
rm -f "$stamp" # from here until the end it is half done
if ! "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "${source[@]}" --editable .; then
  echo "project: not installed; behind a proxy, or without internet: see docs/vm.md" >&2
  exit 1
fi
# Without a compiler the installation succeeds all the same: so ask for the engine.
"$VENV/bin/python" -c 'import harness.engines._native, harness.engines._probes'
"$VENV/bin/python" -m harness.engines
echo "$built_from" > "$stamp"
