#!/bin/sh
# Fills the empty databases of a new shop from a backup that backup.sh made. It may be run again at any time: each database
# is filled in one transaction whose end also notes the backup's name, so it is empty or whole, and a whole one is left alone.
#
#   NOUNS, URL_<NOUN>  the databases: see common.sh      SOURCE  a backup, or a folder of backups: then the newest
#   CHOSEN             a file: with the argument `choose` only writes there which backup was begun with, if one was
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/common.sh"
: "${NOUNS:?}"
CONNECT_TRIES=150
CONNECT_PAUSE_S=2

noted_in() { # NOUN: the backup that the database is from, empty when it is from none
    sql "$1" --command="SELECT substring(shobj_description(oid, 'pg_database') FROM '^restored from ([^ ]+)') FROM pg_database WHERE datname = current_database()"
}

reach() { # NOUN: wait until the database is there
    tries=$CONNECT_TRIES
    until sql "$1" --command='SELECT 1' >/dev/null 2>"$work/said"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "$1: $(cat "$work/said")"
        sleep "$CONNECT_PAUSE_S"
    done
}

survey() { # sets begun, the backup that a former run began with, and left, the databases that it did not come to
    begun= left=
    for each in $NOUNS; do
        reach "$each"
        found=$(noted_in "$each")
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
        shop=$(noted shop "$found")
        case " $shops " in *" $shop "*) ;; *) shops="$shops $shop" ;; esac
    done
    [ -n "$backup" ] || fail "$SOURCE holds no complete backup"
    set -- $shops
    [ $# -eq 1 ] || fail "$SOURCE holds backups of several shops ($*): name the backup"
}

choose() { # sets backup, the folder to restore from
    if [ -e "$SOURCE/manifest.json" ]; then
        backup=$SOURCE
        name=$(noted name "$backup/manifest.json")
        [ "${begun:-$name}" = "$name" ] || fail "the databases were begun from $begun: restoring $name over it would mix two backups"
    elif [ -n "$begun" ]; then
        backup=$SOURCE/$begun
        [ -e "$backup/manifest.json" ] || fail "$SOURCE/$begun, with which the restore began, is gone: delete the databases and start anew"
    else
        newest
    fi
    name=$(noted name "$backup/manifest.json")
    [ "$(noted format "$backup/manifest.json")" = 1 ] || fail "$backup: cannot read this format of backup"
}

verify() {
    sed -n 's/.*"file": "\([a-z]*\.dump\)".*"sha256": "\([0-9a-f]*\)".*/\2  \1/p' "$backup/manifest.json" >"$work/sums"
    [ -s "$work/sums" ] || fail "$backup: the manifest names no database"
    (cd "$backup" && sha256sum -c "$work/sums") >"$work/said" 2>&1 || fail "$backup is damaged: $(cat "$work/said")"
}

check_versions() { # a dump goes into a server of the same or a later major version
    made=$(noted postgres "$backup/manifest.json" | sed 's/[^0-9].*//')
    for each in $left; do
        server=$(major_of "$each")
        [ "$server" -ge "${made:-0}" ] ||
            fail "$each: the backup is of PostgreSQL $made and the server is $server: nothing was restored, a server of PostgreSQL $made or later is needed"
    done
}

script() { # NOUN: without the last part nothing is committed; a database of a service that is new begins empty
    cat "$HERE/restore-begin.sql"
    if [ -e "$backup/$1.dump" ]; then
        pg_restore --no-owner --no-privileges --file=- "$backup/$1.dump" || exit
    fi
    cat "$HERE/restore-end.sql"
}

restore() { # NOUN
    script "$1" | sql "$1" --set=backup="$name" --file=- >"$work/said" 2>&1 || fail "$1: $(cat "$work/said")"
    [ "$(noted_in "$1")" = "$name" ] || fail "$1: was not restored: $(cat "$work/said")"
    [ -e "$backup/$1.dump" ] && echo "$1: restored from $name" || echo "$1: not in $name, begins empty"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM
survey
if [ "${1:-}" = choose ]; then
    # What is complete needs no backup any more, so its place need not exist.
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
