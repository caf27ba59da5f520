#!/bin/sh
cd `dirname $0`
while true
do
    java -cp . demo.load_0_1.load "$@"
    sleep 60
done
