#!/bin/sh
cd `dirname $0`
java -version
java -cp . demo.load_0_1.load --context=Default "$@"
exit $?
