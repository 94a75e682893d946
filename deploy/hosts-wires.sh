# Sourced by hosts.sh: the networks of the hosts, and how they are cut.

# The wires: a bridge in a namespace of its own, where nobody's firewall looks at it, with a pair of ends for this
# machine and one for each host.
hub() { nsenter --net="/run/netns/$prefix-hub" "$@"; }
wire_hub() {
  [ -e "/run/netns/$prefix-hub" ] && return 0
  ip netns add "$prefix-hub"
  hub ip link add bridge type bridge
  hub ip link set bridge up
  ip link add "$prefix" type veth peer name here netns "$prefix-hub"
  hub ip link set here master bridge up
  ip address add "10.$net.0.254/24" dev "$prefix"
  ip link set "$prefix" up
  # The hosts reach what this machine reaches: images are pulled so.
  sysctl -qw net.ipv4.ip_forward=1
  iptables -w 5 -t nat -I POSTROUTING -s "10.$net.0.0/24" ! -o "$prefix" -j MASQUERADE
  iptables -w 5 -I FORWARD -i "$prefix" -j ACCEPT
  iptables -w 5 -I FORWARD -o "$prefix" -j ACCEPT
}
unwire_hub() {
  iptables -w 5 -t nat -D POSTROUTING -s "10.$net.0.0/24" ! -o "$prefix" -j MASQUERADE 2>/dev/null || true
  iptables -w 5 -D FORWARD -i "$prefix" -j ACCEPT 2>/dev/null || true
  iptables -w 5 -D FORWARD -o "$prefix" -j ACCEPT 2>/dev/null || true
  ip netns delete "$prefix-hub" 2>/dev/null || true
  ip link delete "$prefix" 2>/dev/null || true
}
wire() {
  local host=$1 other
  [ -e "$(namespace "$host")" ] && return 0
  ip netns add "$prefix-$host"
  inside "$host" ip link add eth0 type veth peer name "host$host" netns "$prefix-hub"
  hub ip link set "host$host" master bridge up
  inside "$host" ip link set lo up
  inside "$host" ip address add "10.$net.0.$host/24" dev eth0
  inside "$host" ip link set eth0 up
  inside "$host" ip route add default via "10.$net.0.254"
  inside "$host" sysctl -qw net.ipv4.ip_forward=1
  [ "$KONTIKI_HOSTS_ENGINES" = own ] || return 0
  ip route replace "10.$pods.$host.0/24" via "10.$net.0.$host"
  for other in $(seq "$hosts"); do
    [ "$other" = "$host" ] || inside "$host" ip route replace "10.$pods.$other.0/24" via "10.$net.0.$other"
  done
}

cut_one_way() {
  wired "$1"
  wired "$2"
  inside "$2" iptables -w 5 -I INPUT -s "10.$net.0.$1" -j DROP -m comment --comment kontiki-cut
  inside "$2" iptables -w 5 -I FORWARD -s "10.$pods.$1.0/24" -j DROP -m comment --comment kontiki-cut
}

mend_one_way() {
  wired "$1"
  wired "$2"
  inside "$2" iptables -w 5 -D INPUT -s "10.$net.0.$1" -j DROP -m comment --comment kontiki-cut 2>/dev/null || true
  inside "$2" iptables -w 5 -D FORWARD -s "10.$pods.$1.0/24" -j DROP -m comment --comment kontiki-cut 2>/dev/null || true
}

heal() {
  local host chain
  ! on_loopback || fail "replicas and nodes are all on loopback here: nothing is cut"
  for host in $(numbers); do
    for chain in INPUT FORWARD; do
      inside "$host" iptables -w 5 -S "$chain" 2>/dev/null | grep -- '--comment kontiki-cut' | sed 's/^-A/-D/' |
        while read -r rule; do eval "inside $host iptables -w 5 $rule"; done || true
    done
  done
}
