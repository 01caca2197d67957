#!/bin/sh
# Prints what sysctl.conf beside it asks of this machine, for /etc/sysctl.d: under "at least" the larger of each number there
# and the machine's own, so that nothing is lowered; under "exactly" what stands there. Changes nothing.
set -eu
awk -v root="${SYSCTL_ROOT:-/proc/sys}" '
    /^# === / { is_least = ($3 == "at") }
    /^[a-z]/ {
        path = $1
        gsub(/\./, "/", path)
        if ((getline line < (root "/" path)) <= 0) {
            print "# " $1 ": this kernel has no such setting"
            next
        }
        count = split(line, has)
        values = ""
        for (at = 1; at <= NF - 2; at++) {
            keeps = is_least && at <= count && has[at] + 0 > $(at + 2) + 0
            values = values " " (keeps ? has[at] : $(at + 2))
        }
        print $1 " =" values
    }
' "${1:-$(dirname "$0")/sysctl.conf}"
