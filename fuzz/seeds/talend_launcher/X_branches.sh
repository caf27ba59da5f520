#!/bin/sh
if [ -n "$DEBUG" ]; then
  java -Xdebug -cp . demo.load_0_1.load "$@"
else
  exec java -cp . demo.load_0_1.load "$@"
fi
