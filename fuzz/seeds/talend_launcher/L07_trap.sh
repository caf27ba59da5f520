#!/bin/sh
cd `dirname $0`
trap 'rm -f /talend/temp/load.lock' EXIT
java -cp . demo.load_0_1.load "$@"
