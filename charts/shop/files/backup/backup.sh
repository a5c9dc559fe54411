#!/bin/sh
# Dumps every database of a shop as of one moment into $TARGET/TIME, a folder that gets this name when it is complete.
#
# Orders, stock and payments are in separate databases, and no snapshot spans several. So writes to all of them are locked
# out for the moment in which the snapshots are taken (gate.sql, snapshot.sql); they continue during the dumps.
#
#   NOUNS, URL_<NOUN>  the databases: see common.sh      KEEP  complete backups of this shop to keep; 0 keeps all
#   TARGET             folder of the backups             SHOP, SHOP_VERSION  written to the manifest
#   SAY_TO             a file that also gets the final message; empty is none
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/common.sh"
: "${NOUNS:?}" "${TARGET:?}" "${SHOP:?}" "${SHOP_VERSION:=}" "${KEEP:=0}"
ROUNDS=10
NAME_TRIES=5
LEFTOVER_MINUTES=1500
export HERE NOUNS BACKUP_PID=$$

work=$(mktemp -d)
partial=

say() {
    echo "$1"
    [ -z "${SAY_TO:-}" ] || echo "$1" >"$SAY_TO"
}

# The sessions of an attempt wait at four steps, each a pipe that is closed when all may continue (await.sh).
open_steps() {
    mkfifo "$ROUND/lock" "$ROUND/look" "$ROUND/free" "$ROUND/end"
    exec 4<>"$ROUND/lock" 5<>"$ROUND/look" 6<>"$ROUND/free" 7<>"$ROUND/end"
}

close_steps() {
    exec 4>&- 5>&- 6>&- 7>&-
}

give_up() {
    : >"$ROUND/aborted"
    close_steps
    wait
}

cleanup() {
    [ -z "${ROUND:-}" ] || give_up
    rm -rf "$work" ${partial:+"$partial"}
}
trap cleanup EXIT
trap 'exit 143' INT TERM

session() { # NOUN SCRIPT: in the background; leaves a file in $ROUND when it fails
    (
        close_steps
        export NOUN="$1"
        sql "$1" --set=snapshot_file="$ROUND/snapshot.$1" --file="$HERE/$2" >"$ROUND/$2.$1" 2>&1 || : >"$ROUND/failed.$1"
    ) &
}

reached() { # SECONDS STEP...: true once every session is there, false when one failed or after a timeout
    polls=$(($1 * 100))
    shift
    while [ "$polls" -gt 0 ]; do
        missing=
        for each in $NOUNS; do
            [ ! -e "$ROUND/failed.$each" ] || return 1
            for step in "$@"; do [ -e "$ROUND/$step.$each" ] || missing=$each; done
        done
        [ -n "$missing" ] || return 0
        sleep 0.01
        polls=$((polls - 1))
    done
    return 1
}

common_moment() { # NUMBER: one attempt; true when every database has its snapshot
    export ROUND="$work/round-$1"
    mkdir "$ROUND"
    open_steps
    for each in $NOUNS; do
        session "$each" snapshot.sql
        session "$each" gate.sql
    done
    if reached 60 ready waiting && exec 4>&- && reached 3 locked && exec 5>&- && reached 3 seen && exec 6>&- &&
        reached 10 freed; then
        return
    fi
    give_up
    echo "try $1: no common moment" >&2
    for each in $NOUNS; do
        [ ! -e "$ROUND/failed.$each" ] || cat "$ROUND/gate.sql.$each" "$ROUND/snapshot.sql.$each" | sed "s/^/$each: /" >&2
    done
    return 1
}

retry_common_moment() {
    round=1
    until common_moment "$round"; do
        [ "$round" -lt "$ROUNDS" ] || fail "no common moment of all databases in $ROUNDS tries"
        sleep "$round"
        round=$((round + 1))
    done
}

create_partial() { # sets name, which no other backup has, and partial, its folder
    for try in $(seq "$NAME_TRIES"); do
        name=$(date -u +%Y%m%dT%H%M%SZ)
        partial=$TARGET/.partial-$name
        if [ ! -e "$TARGET/$name" ] && mkdir "$partial" 2>/dev/null; then return; fi
        partial=
        sleep 1
    done
    fail "cannot make a folder in $TARGET"
}

dump() { # NOUN
    pg_dump --format=custom --no-owner --no-privileges --lock-wait-timeout=60s \
        --snapshot="$(cat "$ROUND/snapshot.$1")" --file="$partial/$1.dump" "$(url_of "$1")"
    [ ! -e "$ROUND/failed.$1" ] || fail "$1: the snapshot was lost: $(cat "$ROUND/snapshot.sql.$1")"
}

check_versions() { # pg_dump cannot read a server of a later major version
    program=$(pg_dump --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    for each in $NOUNS; do
        server=$(major_of "$each")
        [ "$server" -le "$program" ] ||
            fail "$each: the server is PostgreSQL $server and pg_dump here is $program: nothing was dumped, an image of PostgreSQL $server is needed (database.image)"
    done
}

manifest() {
    printf '{\n  "format": "1",\n  "name": "%s",\n  "time": "%s",\n  "shop": "%s",\n  "version": "%s",\n' "$name" "$time" "$SHOP" "$SHOP_VERSION"
    printf '  "postgres": "%s",\n  "databases": [' "$(sql "${NOUNS%% *}" --command='SHOW server_version')"
    separator=
    for each in $NOUNS; do
        sum=$(sha256sum <"$partial/$each.dump")
        printf '%s\n    {"name": "%s", "file": "%s.dump", "bytes": %d, "sha256": "%s"}' \
            "$separator" "$each" "$each" "$(wc -c <"$partial/$each.dump")" "${sum%% *}"
        separator=,
    done
    printf '\n  ]\n}\n'
}

prune() { # a backup is renamed before it is deleted, so that a name always means a complete backup
    find "$TARGET" -maxdepth 1 -name '.partial-*' -mmin "+$LEFTOVER_MINUTES" -exec rm -rf {} +
    [ "$KEEP" -gt 0 ] || return 0
    set --
    for found in "$TARGET"/[0-9]*Z/manifest.json; do
        [ ! -e "$found" ] || [ "$(manifest_value shop "$found")" != "$SHOP" ] || set -- "$@" "${found%/manifest.json}"
    done
    while [ $# -gt "$KEEP" ]; do
        mv "$1" "$TARGET/.partial-old-${1##*/}"
        rm -rf "$TARGET/.partial-old-${1##*/}"
        echo "deleted ${1##*/}"
        shift
    done
}

umask 077
check_versions
mkdir -p "$TARGET"
create_partial
retry_common_moment
time=$(date -u +%Y-%m-%dT%H:%M:%SZ)
for each in $NOUNS; do dump "$each"; done
exec 7>&-
wait
for each in $NOUNS; do sed "s/^/$each: /" "$ROUND/gate.sql.$each"; done
manifest >"$partial/manifest.json"
sync "$partial/manifest.json" "$partial" 2>/dev/null || sync
mv "$partial" "$TARGET/$name"
partial=
say "$name: $(du -sk "$TARGET/$name" | cut -f1) KiB in $TARGET"
prune
