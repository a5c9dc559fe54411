# await.sh REPORT STEP: records that the session of $NOUN has reached REPORT, and waits until backup.sh lets all sessions
# continue with STEP. Prints true when it did, false when this attempt was aborted.
#
# STEP is a pipe that backup.sh holds open: it is closed when all may continue, and also when backup.sh dies.
exec 3<"$ROUND/$2"
: >"$ROUND/$1.$NOUN"
read -r nothing <&3 || true
if [ ! -e "$ROUND/aborted" ] && kill -0 "$BACKUP_PID" 2>/dev/null; then echo true; else echo false; fi
