# daemon.sh NAME ACTION: what deploy/lab/daemon does, from inside the lab (which numbers processes as the
# machine outside does). A process is the lab's if it shares this network.
name=$1 action=$2 lab_dir=$3 repository=$4
net=$(readlink /proc/self/ns/net)

signal_all() {
  found=1
  for p in /proc/[0-9]*; do
    [ "$(cat "$p/comm" 2>/dev/null)" = "$name" ] || continue
    [ "$(readlink "$p/ns/net" 2>/dev/null)" = "$net" ] || continue
    case $(cat "$p/stat") in *") Z "*) continue ;; esac
    kill -s "$1" "${p##*/}" && found=0
  done
  return $found
}

case $action in
  freeze) signal_all STOP ;;
  thaw) signal_all CONT ;;
  kill)
    signal_all KILL || exit
    while signal_all KILL; do sleep 0.02; done
    ;;
  start)
    read -r pid _ <"$lab_dir/init"
    lab=${lab_dir##*/}
    exec nsenter --target "$pid" --mount --net --pid -- env -i PATH="$PATH:/usr/sbin:/sbin" HOME=/root \
      LANG=C.UTF-8 LAB="${lab#*-}" "$repository/deploy/lab/host/start" "$name"
    ;;
esac
