#!/bin/sh
cd `dirname $0`
java -cp . demo.load_0_1.load "$@"
RC=$?
echo "finished with $RC"
exit $RC
