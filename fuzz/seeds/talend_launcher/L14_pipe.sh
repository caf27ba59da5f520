#!/bin/sh
cd `dirname $0`
java -cp . demo.load_0_1.load "$@" 2>&1 | tee load.log
