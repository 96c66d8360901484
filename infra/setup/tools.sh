#!/bin/sh
# Foreign programs that tests drive. Each is a separate process, never a library of ours.
set -eu
missing=""
for pair in sipp:sip-tester baresip:baresip-core chromium-headless-shell:chromium-headless-shell iptables:iptables ip:iproute2 multimon-ng:multimon-ng svmap:sipvicious gcc:gcc; do
  program=${pair%%:*}
  PATH="$PATH:/usr/sbin:/sbin"
  command -v "$program" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -z "$missing" ] && { echo "tools: all here"; exit 0; }
echo "tools: installing$missing"
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
$as_root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
echo "tools: ready"
