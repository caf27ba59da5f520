#!/bin/sh
cd `dirname $0`
if [ -f /talend/config/enabled ]; then
    java -cp . demo.load_0_1.load "$@"
else
    echo "not enabled"
fi
