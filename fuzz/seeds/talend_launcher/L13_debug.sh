#!/bin/sh
cd `dirname $0`
ROOT_PATH=`pwd`
java -Xdebug -Xrunjdwp:transport=dt_socket,address=8000,server=y,suspend=y -cp .:$ROOT_PATH demo.load_0_1.load  --context=Default "$@" 