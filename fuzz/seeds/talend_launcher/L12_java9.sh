#!/bin/sh
cd `dirname $0`
ROOT_PATH=`pwd`
java -Dstdout.encoding=UTF-8 --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED -cp .:$ROOT_PATH:$ROOT_PATH/../lib/routines.jar:$ROOT_PATH/parent_0_1.jar:$ROOT_PATH/child_0_1.jar: demo.parent_0_1.parent  --context=Default --context_param message="hello big world" --log4jLevel=Info "$@" 