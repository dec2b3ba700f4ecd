# Installs Debian packages and starts none of their services: tests start what they need, on their own ports.
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
install() { apt-get install --yes --quiet --no-install-recommends "$@"; }
# The lists of packages may be missing or old.
install "$@" || { apt-get update --quiet && install "$@"; }
