#!/bin/sh
cd `dirname $0`
ROOT_PATH=`pwd`
java -Xmx1024M -cp .:$ROOT_PATH:$ROOT_PATH/../lib/*:$ROOT_PATH/load_0_1.jar: demo.load_0_1.load  --context=Default "$@" 