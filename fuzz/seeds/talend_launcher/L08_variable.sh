#!/bin/sh
cd `dirname $0`
ROOT_PATH=`pwd`
JAVA=${JAVA_HOME:+$JAVA_HOME/bin/}java
$JAVA -Xmx1024M -cp .:$ROOT_PATH demo.load_0_1.load --context=Default "$@"
