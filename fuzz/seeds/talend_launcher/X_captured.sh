#!/bin/sh
result=`java -cp . demo.load_0_1.load "$@"`
echo "$result"
