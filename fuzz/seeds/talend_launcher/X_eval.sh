#!/bin/sh
cd `dirname $0`
CMD="java -cp . demo.load_0_1.load"
eval "$CMD" "$@"
