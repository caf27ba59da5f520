#!/bin/sh
cd `dirname $0`
ROOT_PATH=`pwd`
for region in north south; do
java -cp .:$ROOT_PATH/load_0_1.jar demo.load_0_1.load --context_param region=$region "$@"
done
