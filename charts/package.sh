#!/usr/bin/env bash
# charts/package.sh VERSION FOLDER: every chart as FOLDER/*.tgz, all of that version and of images of that version.
set -euo pipefail
version=${1:?version} folder=${2:?folder}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The link from charts/shop to charts/service becomes a copy, so that both have the new version.
for chart in service shop shop-operator; do cp -rL "charts/$chart" "$work/$chart"; done
find "$work" -name Chart.yaml -exec sed -i -E "s/^(version|appVersion): .*/\1: $version/; s/(alias: [a-z]+, version:) [^,]+/\1 $version/" {} +
for chart in service shop shop-operator; do helm package "$work/$chart" --destination "$folder"; done
