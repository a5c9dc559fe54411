# Sourced by backup.sh and restore.sh. The databases: NOUNS="product order", URL_PRODUCT=postgresql://..., URL_ORDER=...
export PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-10}" PSQLRC=/dev/null

fail() {
    echo "$*" >&2
    exit 1
}

url_of() { # NOUN
    eval "printf %s \"\${URL_$(printf %s "$1" | tr a-z A-Z):?}\""
}

sql() { # NOUN [psql's options]: stops at the first error
    noun=$1
    shift
    psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 "$@" "$(url_of "$noun")"
}

manifest_value() { # KEY MANIFEST: a value of the manifest's head
    sed -n "s/^  \"$1\": \"\(.*\)\",\$/\1/p" "$2"
}

major_of() { # NOUN: the server's major version
    sql "$1" --command="SELECT current_setting('server_version_num')::int / 10000"
}
