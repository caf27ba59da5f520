#!/bin/sh
cd `dirname $0`
[ ! -f ./setenv.sh ] || . ./setenv.sh
java $JAVA_OPTS -cp . demo.load_0_1.load "$@"
