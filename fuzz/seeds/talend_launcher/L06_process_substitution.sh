#!/bin/bash
cd "$(dirname "$0")"
ROOT_PATH=$(pwd)
OPTS=(-Xms256M "-Dname=a b")
if [[ -n $TALEND_DEBUG ]]; then
  OPTS+=(-verbose)
fi
java "${OPTS[@]}" -cp ".:$ROOT_PATH/load_0_1.jar" demo.load_0_1.load --context=Default "$@" > >(tee -a /talend/log/load.log) 2>&1
