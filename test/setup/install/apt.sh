# Installs Debian packages and starts none of their services: tests start what they need, on their own ports.
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
# Of "one|other", the first where the lists have it.
chosen() {
	for name; do
		if [ -n "$(apt-cache madison "${name%|*}" 2>/dev/null)" ]; then echo "${name%|*}"; else echo "${name#*|}"; fi
	done
}
install() { apt-get install --yes --quiet --no-install-recommends $(chosen "$@"); }
# The lists of packages may be missing or old.
install "$@" || { apt-get update --quiet && install "$@"; }
