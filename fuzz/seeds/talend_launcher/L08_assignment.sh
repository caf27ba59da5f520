#!/bin/sh
cd `dirname $0`
JAVA_OPTS="-Xmx1g -Xms1g" LC_ALL=C java -cp . demo.load_0_1.load --context=Default "$@"
