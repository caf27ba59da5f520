#!/bin/sh
cd `dirname $0`
/usr/bin/java -Xmx1024M -cp . demo.load_0_1.load --context=Default "$@"
