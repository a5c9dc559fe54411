# await.sh REPORT STEP: tells that the session of $NOUN has come to REPORT, and waits until backup.sh lets everybody go on
# with STEP. Prints true when it did, false when this round was given up.
#
# STEP is a pipe that backup.sh holds open: it closes when all may go on, and also when backup.sh dies.
exec 3<"$ROUND/$2"
: >"$ROUND/$1.$NOUN"
read -r nothing <&3 || true
if [ ! -e "$ROUND/aborted" ] && kill -0 "$BACKUP_PID" 2>/dev/null; then echo true; else echo false; fi
