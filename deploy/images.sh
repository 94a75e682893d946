#!/usr/bin/env bash
# Makes the local images, since none can be pulled: `images.sh [path to the kontiki binary]`.
#   kontiki:dev    our own binary and the libraries it needs, from scratch (only when a binary is given)
#   busybox:1.30   Debian's static busybox with its applets
#   nginx:1.17.1   Debian's nginx with the libraries it needs
# The tags are the ones that common manifests name; the label `io.kontiki.source` says what is really inside.
# Quick when nothing changed: every image carries a hash of what it was made from.
. "$(dirname "$0")/lib.sh"
binary="${1:-}"
[ $# -le 1 ] && [[ "$binary" != -* ]] || fail "usage: images.sh [path to the kontiki binary]"
# Bump when the recipe of an image changes, so that it is made anew.
recipe=1
docker="timeout 120 docker"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the loader would give a program; nothing for a static one.
libraries() {
  { ldd "$1" 2>/dev/null || true; } | { grep -o '/[^ )]*' || true; } | sort -u
}

# Copies each program and the libraries that the loader would give it into a root, keeping their paths.
gather() {
  local root="$1" file
  shift
  for file in "$@"; do
    mkdir -p "$root$(dirname "$file")"
    cp -L "$file" "$root$file"
    libraries "$file" | while read -r library; do
      mkdir -p "$root$(dirname "$library")"
      cp -Lf "$library" "$root$library"
    done
  done
}

base() {
  local root="$1"
  mkdir -p "$root"/{etc,tmp,root,run,proc,sys,dev,var}
  chmod 1777 "$root/tmp"
  printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n' > "$root/etc/passwd"
  printf 'root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n' > "$root/etc/group"
  printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
}

hash_of() {
  { echo "$recipe"; sha256sum "$@" | cut -d' ' -f1; } | sha256sum | cut -c1-32
}

# Is there an image of that tag that is not of our making? Then it is the real one, and stays.
is_foreign() {
  [ "$($docker image inspect -f '{{ index .Config.Labels "io.kontiki.hash" }}' "$1" 2>/dev/null || echo none)" = "" ]
}

# A program for an image is missing: an error when all images were asked for (KONTIKI_IMAGES=all), else the image is left
# out, and Docker pulls the real one when a Pod wants it.
left_out() {
  [ "${KONTIKI_IMAGES:-}" != all ] || { echo "$1" >&2; return 1; }
}

is_made() {
  [ "$($docker image inspect -f '{{ index .Config.Labels "io.kontiki.hash" }}' "$1" 2>/dev/null)" = "$2" ]
}

# import TAG HASH SOURCE ROOT [change...]
import() {
  local tag="$1" hash="$2" source="$3" root="$4" changes=() before
  shift 4
  changes=(--change "LABEL io.kontiki.hash=$hash io.kontiki.source=\"$source\"")
  for change in "$@"; do changes+=(--change "$change"); done
  before=$($docker image inspect -f '{{.Id}}' "$tag" 2>/dev/null || true)
  tar -C "$root" --owner=0 --group=0 --numeric-owner -c . | $docker import "${changes[@]}" - "$tag" > /dev/null
  # The image that had the tag before goes, unless a container still uses it.
  [ -z "$before" ] || $docker image rm "$before" > /dev/null 2>&1 || true
  echo "  made $tag ($source)"
}

busybox_image() {
  local program hash root="$work/busybox" applet
  is_foreign busybox:1.30 && return
  program=$(command -v busybox) || { left_out "busybox is not installed (Debian: apt-get install busybox-static)"; return; }
  hash=$(hash_of "$program")
  is_made busybox:1.30 "$hash" && return
  base "$root"
  mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,home,var/www}
  gather "$root" "$program"
  [ "$program" = /bin/busybox ] || { cp -L "$program" "$root/bin/busybox"; rm -f "$root$program"; }
  for applet in $("$program" --list-full); do
    [ "$(basename "$applet")" = busybox ] && continue
    mkdir -p "$root/$(dirname "$applet")"
    # Hard links: relative to the root, whatever directory the applet belongs into.
    ln -f "$root/bin/busybox" "$root/$applet"
  done
  import busybox:1.30 "$hash" "busybox of Debian $(cat /etc/debian_version)" "$root" \
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'CMD ["sh"]'
}

nginx_image() {
  local program hash root="$work/nginx"
  is_foreign nginx:1.17.1 && return
  program=$(command -v nginx || echo /usr/sbin/nginx)
  [ -x "$program" ] && command -v busybox >/dev/null ||
    { left_out "nginx or busybox is not installed (Debian: apt-get install nginx-light busybox-static)"; return; }
  hash=$(hash_of "$program" "$(command -v busybox)")
  is_made nginx:1.17.1 "$hash" && return
  base "$root"
  mkdir -p "$root"/{bin,usr/bin,var/log/nginx,var/lib/nginx,var/cache/nginx,usr/share/nginx/html,etc/nginx/conf.d}
  gather "$root" "$program"
  # A shell and a few tools, as the official image has them: `kubectl exec -it … sh` and `kubectl cp` want them.
  cp -L "$(command -v busybox)" "$root/bin/busybox"
  for applet in sh ls cat echo tar hostname env id ps sleep wget grep head tail mkdir rm cp mv touch date kill test true false vi; do
    ln -f "$root/bin/busybox" "$root/bin/$applet"
  done
  ln -s /dev/stdout "$root/var/log/nginx/access.log"
  ln -s /dev/stderr "$root/var/log/nginx/error.log"
  [ -e /etc/nginx/mime.types ] && cp /etc/nginx/mime.types "$root/etc/nginx/mime.types" || printf 'types { text/html html; }\n' > "$root/etc/nginx/mime.types"
  cat > "$root/etc/nginx/nginx.conf" <<'CONF'
user www-data;
worker_processes 1;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log /var/log/nginx/access.log;
  sendfile on;
  keepalive_timeout 65;
  include /etc/nginx/conf.d/*.conf;
}
CONF
  cat > "$root/etc/nginx/conf.d/default.conf" <<'CONF'
server {
  listen 80;
  server_name localhost;
  location / { root /usr/share/nginx/html; index index.html; }
}
CONF
  cat > "$root/usr/share/nginx/html/index.html" <<'HTML'
<!DOCTYPE html>
<html><head><title>Welcome to nginx!</title></head>
<body><h1>Welcome to nginx!</h1><p>This is Debian's nginx in an image made by Kontiki.</p></body></html>
HTML
  import nginx:1.17.1 "$hash" "nginx of Debian $(cat /etc/debian_version)" "$root" \
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'EXPOSE 80' \
    "CMD [\"$program\", \"-g\", \"daemon off;\"]"
}

kontiki_image() {
  local hash root="$work/kontiki"
  hash=$(hash_of "$binary")
  is_made kontiki:dev "$hash" && return
  base "$root"
  mkdir -p "$root"/{etc,var/lib/kontiki}
  install -m 0755 "$binary" "$root/kontiki"
  libraries "$binary" | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
  import kontiki:dev "$hash" "the kontiki binary and its libraries" "$root" \
    'ENV PATH=/' 'ENTRYPOINT ["/kontiki"]'
}

timeout 10 docker version -f '{{.Server.Version}}' > /dev/null || { echo "No Docker engine answers." >&2; exit 1; }
busybox_image
nginx_image
[ -z "$binary" ] || kontiki_image
