#!/bin/sh
cd `dirname $0`
java -cp . demo.load_0_1.load "$@" && touch /talend/out/done
