#!/bin/sh
if ! command -v java >/dev/null; then echo "no java"; exit 1; fi
command java -cp . demo.load_0_1.load "$@"
