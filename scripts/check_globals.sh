#!/bin/sh
# The library has no variables but const tables: lists what its object files keep in writable
# sections. usage: scripts/check_globals.sh libopt.a
set -eu
# The list of the thread's open tiles (libopt/base/diag.c) is the one exception.
objdump -t "$1" | awk '
/file format/ { object = $1; n_objects++ }
# "<address> <flags> O <section> <size> <name>"
NF > 4 && $(NF - 2) ~ /^\.(data|bss|tdata|tbss)(\.|$)/ && $(NF - 2) !~ /^\.data\.rel\.ro/ && / O / {
    if ($NF ~ /^tile_head(\.[0-9]+)?$/) next
    print object " variable that is not const: " $NF " (" $(NF - 2) ")"
    bad = 1
}
END { if (n_objects == 0) print "no object files"; exit bad || n_objects == 0 }
'
