#!/bin/sh
echo "never closed
java -cp . demo.load_0_1.load $*
