#!/bin/sh
cd `dirname $0`
	  java -Xmx1024M -cp . demo.load_0_1.load --context=Default "$@"

# the end
