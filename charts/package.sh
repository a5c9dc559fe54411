#!/usr/bin/env bash
# charts/package.sh VERSION FOLDER: every chart as FOLDER/*.tgz, all of that version and of images of that version.
# Runs with bash 3.2 and BSD tools, as macOS has them (tests/architecture/test_shell_scripts.py).
set -euo pipefail
version=${1:?version} folder=${2:?folder}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

set_version() { # FILE: in place; `sed -i` is not the same in GNU's sed and BSD's
    sed -E "s/^(version|appVersion): .*/\1: $version/; s/(alias: [A-Za-z]+, version:) [^,]+/\1 $version/" "$1" >"$1.new"
    mv "$1.new" "$1"
}

# The link from charts/shop to charts/service becomes a copy, so that both get the new version.
for chart in service shop shop-operator observability; do cp -RL "charts/$chart" "$work/$chart"; done
find "$work" -name Chart.yaml | while IFS= read -r file; do set_version "$file"; done
for chart in service shop shop-operator observability; do helm package "$work/$chart" --destination "$folder"; done
