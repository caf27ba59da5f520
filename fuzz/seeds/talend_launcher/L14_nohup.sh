#!/bin/sh
cd `dirname $0`
nohup java -cp . demo.load_0_1.load "$@" > load.out 2>&1 &
echo $! > load.pid
