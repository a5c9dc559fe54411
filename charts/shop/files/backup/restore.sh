#!/bin/sh
# Restores the empty databases of a new shop from a backup of backup.sh. It may be run again at any time: each database is
# restored in one transaction that also records the backup's name, so it is empty or complete, and a complete one is skipped.
#
#   NOUNS, URL_<NOUN>  the databases: see common.sh      SOURCE  a backup, or a folder of backups: then the newest
#   CHOSEN             a file: with the argument `choose` only writes there which backup a former run began with, if any
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/common.sh"
: "${NOUNS:?}"
CONNECT_TRIES=150
CONNECT_PAUSE_S=2

restored_from() { # NOUN: the backup that the database was restored from; empty if none
    sql "$1" --command="SELECT substring(shobj_description(oid, 'pg_database') FROM '^restored from ([^ ]+)') FROM pg_database WHERE datname = current_database()"
}

wait_for() { # NOUN: until the database accepts connections
    tries=$CONNECT_TRIES
    until sql "$1" --command='SELECT 1' >/dev/null 2>"$work/said"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "$1: $(cat "$work/said")"
        sleep "$CONNECT_PAUSE_S"
    done
}

find_progress() { # sets begun, the backup that a former run began with, and left, the databases that it did not reach
    begun= left=
    for each in $NOUNS; do
        wait_for "$each"
        found=$(restored_from "$each")
        if [ -z "$found" ]; then left="$left $each"; continue; fi
        [ "${begun:-$found}" = "$found" ] || fail "databases are from different backups, $begun and $found"
        begun=$found
    done
}

newest() { # sets backup, the folder of the newest one
    backup= shops=
    for found in "$SOURCE"/[0-9]*Z/manifest.json; do
        [ -e "$found" ] || continue
        backup=${found%/manifest.json}
        shop=$(manifest_value shop "$found")
        case " $shops " in *" $shop "*) ;; *) shops="$shops $shop" ;; esac
    done
    [ -n "$backup" ] || fail "$SOURCE holds no complete backup"
    set -- $shops
    [ $# -eq 1 ] || fail "$SOURCE holds backups of several shops ($*): name the backup"
}

choose() { # sets backup, the folder to restore from
    if [ -e "$SOURCE/manifest.json" ]; then
        backup=$SOURCE
        name=$(manifest_value name "$backup/manifest.json")
        [ "${begun:-$name}" = "$name" ] || fail "the databases were begun from $begun: restoring $name over it would mix two backups"
    elif [ -n "$begun" ]; then
        backup=$SOURCE/$begun
        [ -e "$backup/manifest.json" ] || fail "$SOURCE/$begun, with which the restore began, is gone: delete the databases and start again"
    else
        newest
    fi
    name=$(manifest_value name "$backup/manifest.json")
    [ "$(manifest_value format "$backup/manifest.json")" = 1 ] || fail "$backup: cannot read this format of backup"
}

verify() {
    sed -n 's/.*"file": "\([a-z]*\.dump\)".*"sha256": "\([0-9a-f]*\)".*/\2  \1/p' "$backup/manifest.json" >"$work/sums"
    [ -s "$work/sums" ] || fail "$backup: the manifest names no database"
    (cd "$backup" && sha256sum -c "$work/sums") >"$work/said" 2>&1 || fail "$backup is damaged: $(cat "$work/said")"
}

check_versions() { # a dump goes into a server of the same or a later major version
    made=$(manifest_value postgres "$backup/manifest.json" | sed 's/[^0-9].*//')
    for each in $left; do
        server=$(major_of "$each")
        [ "$server" -ge "${made:-0}" ] ||
            fail "$each: the backup is of PostgreSQL $made and the server is $server: nothing was restored, a server of PostgreSQL $made or later is needed"
    done
}

script() { # NOUN: only the last part commits; the database of a new service starts empty
    cat "$HERE/restore-begin.sql"
    if [ -e "$backup/$1.dump" ]; then
        pg_restore --no-owner --no-privileges --file=- "$backup/$1.dump" || exit
    fi
    cat "$HERE/restore-end.sql"
}

restore() { # NOUN
    script "$1" | sql "$1" --set=backup="$name" --file=- >"$work/said" 2>&1 || fail "$1: $(cat "$work/said")"
    [ "$(restored_from "$1")" = "$name" ] || fail "$1: was not restored: $(cat "$work/said")"
    [ -e "$backup/$1.dump" ] && echo "$1: restored from $name" || echo "$1: not in $name, begins empty"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM
find_progress
if [ "${1:-}" = choose ]; then
    # A complete restore does not read the backup, so it need not exist.
    printf '%s' "${begun:+$begun${left:+ unfinished}}" >"${CHOSEN:?}"
    exit
fi
if [ -n "$begun" ] && [ -z "$left" ]; then
    echo "restored from $begun already"
    exit
fi
: "${SOURCE:?}"
choose
verify
check_versions
for each in $left; do restore "$each"; done
