#!/bin/sh
cd "$(dirname "$0")" || exit 1
ROOT_PATH="$(pwd)"
exec java \
  -Xms256M -Xmx1024M \
  -cp ".:$ROOT_PATH:$ROOT_PATH/../lib/routines.jar:$ROOT_PATH/load_0_1.jar:" \
  demo.load_0_1.load \
  --context=Default "$@"
