# await.sh STEP SECONDS: prints true once every database is at STEP of this round, false when one failed or it takes too long.
# The sessions of a backup wait for each other by it: files in $ROUND, named STEP.NOUN.
polls=$(($2 * 50))
while [ "$polls" -gt 0 ]; do
    missing=
    for noun in $NOUNS; do
        [ ! -e "$ROUND/failed.$noun" ] || { echo false; exit; }
        [ -e "$ROUND/$1.$noun" ] || missing=$noun
    done
    [ -n "$missing" ] || { echo true; exit; }
    kill -0 "$BACKUP_PID" 2>/dev/null || break
    sleep 0.02
    polls=$((polls - 1))
done
echo false
